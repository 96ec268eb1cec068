"""The whole circle with live models: run, grade, fit, tune, serve, alarm, label, update, the promise kept again.

Three models of the llama architecture add numbers. They are trained here, and served by llama.cpp.
"""

import json
from pathlib import Path

import adders
import clients
import pytest
import tiny_llama
from helpers.cli_fakes import run

import bayescascade as bc

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

STAGES = list(adders.MODELS)
LIMIT = 0.1
EASY = adders.prompts(260, seed=1, below=20)
HARD = adders.prompts(450, seed=2, above=20)  # sums that the small model has never seen


def first(sums, n):
    return dict(list(sums.items())[:n])


def last(sums, n):
    return dict(list(sums.items())[-n:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the endpoints of live models."""
    folder = tmp_path_factory.mktemp("circle")
    with tiny_llama.running(*adders.write_models(folder)) as urls:
        clients.write_endpoints(folder / "endpoints.toml", urls)
        yield folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayescascade.errors.CascadeWarning")  # so few draws do not satisfy R-hat
def test_the_whole_circle(folder, monkeypatch):
    monkeypatch.chdir(folder)
    fit, policy = tuned(all_stages_run(first(EASY, 200)))
    everyday, harder = last(EASY, 60), first(HARD, 200)
    quiet, alarmed = shifted(policy, everyday, harder)
    assert quiet.exit_code == 0, quiet.text
    assert alarmed.exit_code == 1, alarmed.text
    assert "confidence of medium" in alarmed.alarms  # small is as sure as ever, and nothing has a label
    assert not any(alarm.endswith("of small") for alarm in alarmed.alarms)
    labelled(policy, harder)
    proposed = updated(fit)
    kept_again(policy, proposed, harder, last(HARD, 250))


def all_stages_run(sums):
    """Every model answers every prompt; the answers are graded. The log."""
    bc.Policy(STAGES, [0.0, 0.0, float("-inf")], "logprob").save("start.json")
    lines = [json.dumps({"query": prompt, "prompt": prompt}) for prompt in sums]
    Path("prompts.jsonl").write_text("\n".join(lines))
    arguments = ("--endpoints", "endpoints.toml", "-o", "all.jsonl", "--explore", 1)
    result = run("run", "start.json", "prompts.jsonl", *arguments)
    assert result.exit_code == 0, result.output
    log = bc.read_log(clients.graded("all.jsonl", sums), confidence_kind="logprob", stages=STAGES)
    assert log["confidence"].notnull().all()
    assert log["correct"].notnull().all()
    assert log.sizes == {"query": 200, "stage": 3}
    right = log["correct"].mean("query").values
    assert 0.6 < right[0] < right[1] < right[2]  # they differ in skill
    return log


def tuned(log):
    """A fit, and a policy with a promise that all three models keep together."""
    fit = bc.fit(log, difficulty=False, draws=200, tune=200, chains=2, random_seed=1, progressbar=False)
    solution = bc.tune(fit, max_error=LIMIT)
    assert solution.feasible, solution.text
    policy = solution.to_policy("policy.json", models={name: f"{name}-adder" for name in STAGES}, currency="EUR")
    assert policy.stages == STAGES
    assert float(solution.cost.mean()) < clients.PRICES["large"] / 2.0
    bc.save_fit(fit, "fit.nc")
    return fit, policy


def shifted(policy, everyday, harder):
    """What the monitor says before and after the prompts get harder, without a label."""
    arguments = ("policy.json", "--endpoints", "endpoints.toml", "--log", "served.jsonl", "--explore", 0.5)
    with clients.served(*arguments) as url:
        answers = clients.ask(url, everyday)
        quiet = bc.monitor(policy, "served.jsonl", leave_out=["latency"])
        wrong = sum(answers[prompt] != total for prompt, total in everyday.items())
        assert wrong / len(everyday) < 0.2
        answers = clients.ask(url, harder)
    wrong = sum(answers[prompt] != total for prompt, total in harder.items())
    assert wrong / len(harder) > 1.5 * LIMIT
    result = run("monitor", "policy.json", "served.jsonl", "--leave-out", "latency", "-o", "watch.html")
    assert result.exit_code == 1, result.output
    return quiet, bc.monitor(policy, "served.jsonl", leave_out=["latency"])


def labelled(policy, harder):
    """Fifty queries that ran all stages get labels: the promise is broken, and the small model's calibration."""
    table = clients.graded("served.jsonl", harder)
    explored = table.loc[(table["decision"] == "explore") & table["query"].isin(list(harder)), "query"]
    chosen = explored.unique()[:50]
    assert len(chosen) == 50
    mine = table["query"].isin(chosen)
    table.assign(correct=table["correct"].where(mine)).to_csv("served.csv", index=False)
    table[mine].to_csv("labelled.csv", index=False)
    watch = bc.monitor(policy, "served.csv", leave_out=["latency"])
    assert watch.promise is False, watch.text
    assert "calibration of small" in watch.alarms


def updated(fit):
    """The policy that `bayescascade update` proposes; the one in use is as it was."""
    before = Path("policy.json").read_text()
    options = ("--fit", "fit.nc", "-o", "proposed.json", "--old-share", 0.2, "--seed", 1, "--json")
    result = run("update", "policy.json", "labelled.csv", *options)
    assert result.exit_code == 0, result.output
    assert Path("policy.json").read_text() == before
    found = json.loads(result.stdout)
    assert found["p_better"] > 0.8
    assert found["kept"][0] < 0.1 < 0.8 < found["kept"][1]
    proposed = bc.Policy.load("proposed.json")
    assert proposed.manifest["currency"] == "EUR"
    assert proposed.manifest["promise"]["max_error"] == LIMIT
    assert "small" not in proposed.stages  # of no use for these sums
    return proposed


def kept_again(policy, proposed, harder, new):
    """The old policy breaks its promise on harder prompts, the proposed one keeps it on new ones like these."""
    old = bc.verify(policy, clients.graded("served.jsonl", harder))
    assert old.exit_code == 1, old.text
    with clients.served("proposed.json", "--endpoints", "endpoints.toml", "--log", "again.jsonl") as url:
        clients.ask(url, new)
    clients.graded("again.jsonl", new).to_csv("again.csv", index=False)
    result = run("verify", "proposed.json", "again.csv")
    assert result.exit_code == 0, result.output
    assert bc.monitor(proposed, "again.csv", leave_out=["latency"]).promise is not False
