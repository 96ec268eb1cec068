"""The cascade as a model of Inspect, evaluated by Inspect."""

import asyncio
import json
import warnings
from pathlib import Path

import pytest
from helpers.model_server import completion, serving

import bayescascade as bc
from bayescascade import CascadeError, Policy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("inspect_ai", reason="the adapter of Inspect needs inspect-ai")
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate, use_tools
    from inspect_ai.tool import tool

    from bayescascade.serving.adapters import inspect_model  # noqa: F401, which registers the model

pytestmark = pytest.mark.filterwarnings("ignore")
INF = float("inf")


@pytest.fixture
def servers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSPECT_DISPLAY", "none")
    Policy(["small", "large"], [-0.5, -INF], "logprob", reject=[-2.0, -INF]).save("policy.json")
    by_prompt = serving(lambda prompt: completion("A", float(prompt)))
    with by_prompt as small, serving(lambda prompt: completion("L", -0.2)) as large:
        Path("endpoints.toml").write_text(
            f'[small]\nmodel = "m"\nprice = 1\napi_key_env = ""\nbase_url = "{small.url}"\n'
            f'[large]\nmodel = "m"\nprice = 5\napi_key_env = ""\nbase_url = "{large.url}"\n'
        )
        yield small, large


def evaluate(prompts, solver=None, **options):
    samples = [Sample(input=prompt, target=target) for prompt, target in prompts]
    task = inspect_ai.Task(dataset=samples, solver=solver or generate(), scorer=match())
    with get_model("bayescascade/policy.json", endpoints="endpoints.toml", memoize=False, **options) as model:
        return inspect_ai.eval(task, model=model, log_dir="logs", display="none", log_level="error")[0]


def test_an_evaluation(servers):
    log = evaluate([("-0.1", "A"), ("-0.9", "L"), ("-0.2", "B"), ("-3.0", "A")], log="log.jsonl", explore=1.0)
    assert log.status == "success"
    outputs = {sample.input: sample.output for sample in log.samples}
    assert [outputs[prompt].completion for prompt in ("-0.1", "-0.9", "-0.2", "-3.0")] == ["A", "L", "A", ""]
    assert outputs["-0.9"].metadata["stage"] == "large"
    assert outputs["-0.9"].metadata["confidences"] == {"small": -0.9, "large": -0.2}
    assert outputs["-0.9"].usage.total_cost == 6.0
    assert outputs["-3.0"].metadata["decision"] == "abstain"
    assert outputs["-3.0"].stop_reason == "content_filter"
    assert log.results.scores[0].metrics["accuracy"].value == 0.5
    # what was evaluated is a log to tune with
    found = bc.read_log("log.jsonl", confidence_kind="logprob", stages=["small", "large"], labels=False)
    assert found.sizes["query"] == 4
    policies = {json.loads(line)["policy"] for line in Path("log.jsonl").read_text().splitlines()}
    assert policies == {outputs["-0.1"].metadata["policy"]}


def test_a_second_evaluation_has_another_event_loop(servers):
    task = inspect_ai.Task(dataset=[Sample(input="-0.1", target="A")], scorer=match())
    with get_model("bayescascade/policy.json", endpoints="endpoints.toml", memoize=False) as model:
        for _ in range(2):
            (log,) = inspect_ai.eval(task, model=model, log_dir="logs", display="none", log_level="error")
            assert log.status == "success"


def test_the_log_is_let_go(servers):
    for _ in range(2):
        assert evaluate([("-0.1", "A")], log="log.jsonl").status == "success"

    async def closed():
        async with get_model(
            "bayescascade/policy.json", endpoints="endpoints.toml", memoize=False, log="log.jsonl"
        ):
            pass

    asyncio.run(closed())
    assert evaluate([("-0.1", "A")], log="log.jsonl").status == "success"


def test_a_query_without_an_answer_is_an_error_of_its_sample(servers):
    servers[1].reply = lambda prompt: completion("L", None)
    log = evaluate([("-0.9", "L")])
    assert log.status == "error"
    assert "there are no log-probabilities" in log.error.message


def test_tools_are_refused(servers):
    @tool
    def add():
        async def execute(x: int, y: int):
            """Add.

            Args:
                x: First.
                y: Second.
            """
            return x + y

        return execute

    log = evaluate([("-0.1", "A")], [use_tools(add()), generate()])
    assert "calls no tools" in log.error.message
    assert not servers[0].requests


def test_several_choices_are_refused(servers):
    log = evaluate([("-0.1", "A")], generate(), config=GenerateConfig(num_choices=2))
    assert "one answer" in log.error.message


def test_endpoints_are_needed(servers):
    with pytest.raises(CascadeError, match="needs its endpoints"):
        get_model("bayescascade/policy.json", memoize=False)
