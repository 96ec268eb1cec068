"""`bayescascade run`: prompts through a cascade, resumable, without a key in any output."""

import json
from pathlib import Path

import pytest
from helpers.cli_fakes import assert_one_sentence, run
from helpers.model_server import completion, serving

import bayescascade as bc

KEY = "sk-SENTINEL-0123456789"
ARGUMENTS = ("run", "policy.json", "prompts.jsonl", "--endpoints", "endpoints.toml", "-o", "log.jsonl")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A server, and a working folder with all that the command reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_KEY", KEY)
    bc.Policy(["small", "large"], [-0.5, float("-inf")], "logprob").save("policy.json")
    rows = [{"query": f"q{i}", "prompt": "-0.1" if i % 4 else "-0.9"} for i in range(8)]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(lambda prompt: completion("A", float(prompt))) as model:
        common = f'base_url = "{model.url}"\napi_key_env = "A_KEY"\nretries = 0\n'
        tables = [f'[{name}]\nmodel = "{name}"\nprice = {price}\n' for name, price in (("small", 1), ("large", 5))]
        Path("endpoints.toml").write_text("".join(table + common for table in tables))
        yield model


def lines():
    return [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]


def no_key(result):
    files = "".join(path.read_text() for path in Path().iterdir())
    assert KEY not in result.output + result.stderr + files


def test_all_prompts_are_run_and_logged(model):
    result = run(*ARGUMENTS)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "8 of 8 queries were run: large answered 2; small answered 6. They cost 18.",
        "Wrote log.jsonl.",
    ]
    assert len(lines()) == 10
    assert set(model.keys) == {f"Bearer {KEY}"}
    no_key(result)
    log = bc.read_log("log.jsonl", confidence_kind="logprob", stages=["small", "large"], labels=False)
    assert log.sizes["query"] == 8


def test_a_run_goes_on_where_it_was(model):
    all_prompts = Path("prompts.jsonl").read_text()
    Path("prompts.jsonl").write_text("".join(all_prompts.splitlines(keepends=True)[:5]))
    assert run(*ARGUMENTS).exit_code == 0
    before = Path("log.jsonl").read_text()
    Path("prompts.jsonl").write_text(all_prompts)
    result = run(*ARGUMENTS)
    assert "5 of 8 queries are in log.jsonl already." in result.stderr
    assert "3 of 3 queries were run" in result.stdout
    assert Path("log.jsonl").read_text().startswith(before)
    assert len(model.requests) == len(lines()) == 10
    assert "No query was run." in run(*ARGUMENTS).stdout


def test_queries_that_fail_are_counted(model):
    model.reply = lambda prompt: completion("A", None)
    result = run(*ARGUMENTS)
    assert result.exit_code == 1
    assert "8 of 8 queries were run: 8 failed (the first: query 'q" in result.stdout
    assert "there are no log-probabilities" in result.stdout


def test_a_refused_key_ends_the_run(model):
    model.reply = lambda prompt: (401, {})
    result = run(*ARGUMENTS)
    assert_one_sentence(result, "does not let model 'small' be used (status 401); check the key in A_KEY")
    assert lines() == []
    no_key(result)


def test_most_that_it_may_cost(model):
    result = run(*ARGUMENTS, "--max-total-cost", "3", "--concurrency", "1")
    assert_one_sentence(result, "the budget pays no call of the first stage")
    assert sum(line["cost"] for line in lines()) == 3.0


def test_exploration(model):
    run(*ARGUMENTS, "--explore", "1")
    assert sum(line["decision"] == "explore" for line in lines()) == 6


def test_endpoints_of_stages_that_the_policy_does_not_run(model, monkeypatch):
    """The file stays as it is when an update leaves a stage out; the key of that one is not asked for."""
    monkeypatch.delenv("NO_KEY", raising=False)
    with open("endpoints.toml", "a") as file:
        file.write('\n[medium]\nmodel = "m"\napi_key_env = "NO_KEY"\n')
    assert run(*ARGUMENTS).exit_code == 0


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("[small", "endpoints.toml is not a TOML file"),
        ("", "endpoints.toml names no stage"),
        ("small = 3", "'small' is not a table"),
        ("[small]\nprice = 1", "stage 'small' has no model"),
        (f'[small]\nmodel = "m"\napi_key = "{KEY}"', "A key stands in an environment variable"),
        (f'[small]\nmodel = "m"\napi_key_env = "{KEY}"', "never the key"),
        ('[small]\nmodel = "m"\nbase_url = "host"', "stage 'small': base_url='host'"),
        ('[small]\nmodel = "m"', "the policy has the stages 'small', 'large'"),
        ('[small]\nmodel = "m"\napi_key_env = "NO_KEY"\n[large]\nmodel = "m"', "variable NO_KEY is not set"),
    ],
)
def test_endpoints_that_are_wrong(model, monkeypatch, text, fragment):
    monkeypatch.delenv("NO_KEY", raising=False)
    Path("endpoints.toml").write_text(text)
    result = run(*ARGUMENTS)
    assert fragment in result.stderr
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert KEY not in result.output
    assert not model.requests


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ({"prompt": "a"}, "prompts.jsonl, line 1: there is no query"),
        ({"query": "q"}, "a line has either prompt or messages"),
        ({"query": "q", "prompt": "a", "messages": []}, "a line has either prompt or messages"),
        ({"query": "q", "prompt": 3}, "messages should be a text"),
    ],
)
def test_prompts_that_are_wrong(model, line, fragment):
    Path("prompts.jsonl").write_text(json.dumps(line))
    assert_one_sentence(run(*ARGUMENTS), fragment)


def test_outputs_that_are_wrong(model):
    assert_one_sentence(run(*ARGUMENTS[:-1], "log.csv"), "the log is written as .jsonl")
    assert_one_sentence(run(*ARGUMENTS[:-1], "prompts.jsonl"), "is the input itself")
