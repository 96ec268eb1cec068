"""A cascade at work, against real servers on loopback."""

import asyncio
import hashlib
import json
import math

import pytest
from helpers.model_server import completion, serving

import bayescascade as bc
from bayescascade import Budget, Cascade, CascadeError, Endpoint, Policy, Reply
from bayescascade.runtime.budget import BudgetSpent
from bayescascade.runtime.reply import StageUnusable
from bayescascade.runtime.result import NoAnswer

INF = math.inf
POLICY = Policy(["small", "large"], [-0.5, -INF], "logprob")
KEY = "sk-SENTINEL-0123456789"


def by_prompt(prompt):
    """The confidence that the prompt names."""
    return completion("A", float(prompt))


@pytest.fixture
def small():
    with serving(by_prompt) as model:
        yield model


@pytest.fixture
def large():
    with serving(lambda prompt: completion("L", -0.2)) as model:
        yield model


def endpoint(model, **options):
    options = {"api_key_env": None, "price": 1.0, "timeout": 10.0, **options}
    return Endpoint("m", model.url, **options)


def both(small, large, **options):
    return {"small": endpoint(small, **options), "large": endpoint(large, price=5.0)}


def ask(stages, *prompts, policy=POLICY, ids=None, **options):
    async def run():
        async with Cascade(policy, stages, **options) as cascade:
            names = ids or [f"q{i}" for i in range(len(prompts))]
            asked = (cascade.answer(prompt, name) for prompt, name in zip(prompts, names, strict=True))
            return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(run())


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- by the policy


def test_an_answer_that_is_sure_enough_is_accepted_and_another_deferred(small, large):
    sure, unsure = ask(both(small, large), "-0.1", "-0.9")
    assert (sure.answer, sure.stage, sure.decision, sure.cost) == ("A", "small", "accept", 1.0)
    assert (unsure.answer, unsure.stage, unsure.cost) == ("L", "large", 6.0)
    assert unsure.confidences == {"small": -0.9, "large": -0.2}
    assert [step.decision for step in unsure.decisions] == ["defer", "accept"]
    assert unsure.latency > 0.0
    assert len(small.requests) == 2
    assert len(large.requests) == 1


def test_the_request_asks_for_log_probabilities(small, large):
    ask(both(small, large, request={"temperature": 0, "top_k": 9}, top_logprobs=3), "-0.1")
    (asked,) = small.requests
    assert asked == {
        "model": "m",
        "messages": [{"role": "user", "content": "-0.1"}],
        "logprobs": True,
        "top_logprobs": 3,
        "temperature": 0,
        "top_k": 9,
    }


def test_the_confidence_is_that_of_the_readers(small, large, tmp_path):
    response = completion("B", -0.3)
    response["choices"][0]["logprobs"]["content"] += [
        {"token": " C", "logprob": -1.1, "top_logprobs": []},
        {"token": "<|im_end|>", "logprob": -3.0, "top_logprobs": []},
    ]
    response["choices"][0]["message"]["content"] = "B C"
    small.queue.append(response)
    ask(both(small, large), "-0.1", log=tmp_path / "log.jsonl")
    assert lines_of(tmp_path / "log.jsonl")[0]["confidence"] == bc.confidence(response)
    assert bc.confidence(response) == pytest.approx(-0.7)


def test_prices_of_tokens(small, large):
    stages = both(small, large)
    stages["small"] = endpoint(small, price=(2.0, 3.0))
    (result,) = ask(stages, "-0.1")
    assert result.cost == pytest.approx((10 * 2 + 1 * 3) / 1e6)


def test_abstention(small, large):
    policy = Policy(["small", "large"], [-0.5, -INF], "logprob", reject=[-2.0, -0.15])
    first, last = ask(both(small, large), "-3.0", "-0.9", policy=policy)
    assert (first.answer, first.decision, first.stage) == (None, "abstain", "small")
    assert (last.answer, last.decision, last.stage) == (None, "abstain", "large")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_person_at_the_end(small, is_async):
    async def later(messages):
        await asyncio.sleep(0)
        return "by hand"

    (result,) = ask({"small": endpoint(small), "large": later if is_async else lambda _: "by hand"}, "-0.9")
    assert (result.answer, result.stage, result.cost) == ("by hand", "large", 1.0)


def test_a_stage_without_a_signal_at_the_end(small, large):
    large.reply = lambda prompt: completion("L", None)
    (result,) = ask({"small": endpoint(small), "large": endpoint(large, signal=None)}, "-0.9")
    assert result.answer == "L"
    assert "logprobs" not in large.requests[0]


def test_no_more_calls_at_a_time_than_allowed(small, large):
    small.delay = 0.05
    ask(both(small, large), *["-0.1"] * 8, concurrency=3)
    assert small.most == 3


# ---- failures


BAD = [
    (completion("B", None), "there are no log-probabilities"),
    (completion("", -0.1), "the answer is empty"),
    (completion("B", -9999.0), "the log-probability of a token is absent"),
    (completion("B", 0.7), "the value is off its scale"),
    (
        completion("no", -0.1, message={"role": "assistant", "content": None, "refusal": "no"}),
        "declined to answer",
    ),
    (completion("", -0.1, finish_reason="content_filter"), "the model declined to answer"),
    (b"{", "the response is not of a known shape"),
    (b"[1, 2]", "the response is not of a known shape"),
    (b"null", "the response is not of a known shape"),
    (b'{"choices": []}', "the answer is empty"),
    (b'{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": "x"}]}}]}', ""),
    ("half", "no connection to http://127.0.0.1"),
    ((400, {}), "the provider answered with status 400"),
    ((429, {"x-should-retry": "false"}), "the provider answered with status 429"),
    ((503, {"x-should-retry": "false"}), "the provider answered with status 503"),
]


def test_calls_that_cannot_be_decided_on_are_deferred(small, large):
    small.queue += [item for item, _ in BAD]
    results = ask(both(small, large, retries=0), *["-0.1"] * len(BAD), concurrency=1)
    for result, (_, reason) in zip(results, BAD, strict=True):
        first = result.decisions[0]
        assert (result.stage, first.decision) == ("large", "defer")
        assert math.isnan(first.confidence)
        assert reason in first.reason


def test_at_the_last_stage_they_are_errors(small, large):
    large.queue += [item for item, _ in BAD]
    stages = {"small": endpoint(small), "large": endpoint(large, retries=0)}
    errors = ask(stages, *["-0.9"] * len(BAD), concurrency=1)
    for place, (error, (_, reason)) in enumerate(zip(errors, BAD, strict=True)):
        assert isinstance(error, NoAnswer)
        assert str(error).startswith(f"query 'q{place}' has no answer: at stage 'large', ")
        assert reason in str(error)
        assert (error.result.answer, error.result.decision) == (None, "fail")


def test_failing_where_it_should(small, large):
    small.queue.append(completion("B", None))
    (error,) = ask(both(small, large, on_failure="fail"), "-0.1")
    assert isinstance(error, NoAnswer)
    assert not large.requests


def test_busy_providers_are_asked_again(small, large):
    small.queue += [(429, {"retry-after-ms": "20"}), (503, {"retry-after-ms": "20"})]
    (result,) = ask(both(small, large), "-0.1")
    assert (result.stage, len(small.requests)) == ("small", 3)


def test_a_lost_connection_is_tried_again(small, large):
    small.queue.append("half")
    (result,) = ask(both(small, large, retries=1), "-0.1")
    assert (result.stage, len(small.requests)) == ("small", 2)


def test_a_call_that_takes_too_long(small, large):
    small.queue.append(1.0)
    (result,) = ask(both(small, large, timeout=0.2), "-0.1")
    assert (result.stage, result.decisions[0].reason) == ("large", "no answer within 0.2 seconds")


def test_an_endpoint_that_is_not_there(large):
    gone = Endpoint("m", "http://127.0.0.1:9/v1", api_key_env=None, retries=0)
    (result,) = ask({"small": gone, "large": endpoint(large)}, "-0.1")
    assert result.decisions[0].reason == "no connection to http://127.0.0.1:9/v1"


def test_functions_that_fail(large):
    def boom(messages):
        raise RuntimeError(KEY)

    for stage, reason in [
        (boom, "the function raised RuntimeError"),
        (lambda _: 3, "the function returned no text"),
        (lambda _: "an answer", "no confidence came with the answer"),
        (lambda _: Reply("a", confidence=3.0), "the confidence 3.0 is off its scale"),
        (lambda _: Reply("a", confidence=INF), "no confidence came with the answer"),
        (lambda _: Reply("", confidence=-0.1), "the answer is empty"),
    ]:
        (result,) = ask({"small": stage, "large": endpoint(large)}, "-0.1")
        assert (result.stage, result.decisions[0].reason) == ("large", reason)


# ---- keys


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "check the key in A_KEY"), (404, "check model and base_url")]
)
def test_a_stage_that_cannot_be_used_is_said_and_no_key_shown(
    small, large, tmp_path, monkeypatch, caplog, status, sentence
):
    monkeypatch.setenv("A_KEY", KEY)
    caplog.set_level("DEBUG")
    small.queue.append((status, {}))
    log = tmp_path / "log.jsonl"
    stages = both(small, large, api_key_env="A_KEY")
    (error,) = ask(stages, "-0.1", log=log)
    assert isinstance(error, StageUnusable)
    assert sentence in str(error)
    assert small.keys == [f"Bearer {KEY}"]
    assert log.read_text() == ""  # so that it can be run again
    small.queue.append((400, {}))
    ask(stages, "-0.1", log=log)
    assert len(lines_of(log)) == 2
    assert KEY not in str(error) + repr(error) + repr(stages) + log.read_text() + caplog.text


def test_a_key_that_is_missing(small, large, monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(CascadeError, match="the environment variable A_KEY is not set"):
        Cascade(POLICY, both(small, large, api_key_env="A_KEY"))


# ---- the log


def test_the_log_is_one_that_can_be_read(small, large, tmp_path):
    path = tmp_path / "log.jsonl"
    small.queue.append(completion("B", None))
    ask(both(small, large), "-0.1", "-0.1", "-0.9", log=path, concurrency=1)
    log = bc.read_log(path, confidence_kind="logprob", stages=POLICY.stages, labels=False)
    assert sorted(log["query"].values) == ["q0", "q1", "q2"]
    log = log.sel(query=["q1", "q2"])
    assert log["confidence"].values[:, 0].tolist() == [-0.1, -0.9]
    assert log["cost"].values[1].tolist() == [1.0, 5.0]
    line = lines_of(path)[0]
    assert list(line)[:4] == ["query", "stage", "confidence", "correct"]
    assert line["correct"] is None
    assert line["policy"] == Cascade(POLICY, both(small, large)).policy_id


def test_a_query_that_has_ended_is_not_run_again(small, large, tmp_path):
    path = tmp_path / "log.jsonl"
    first = ask(both(small, large), "-0.1", "-0.9", log=path)
    before = path.read_bytes()
    assert ask(both(small, large), "-0.1", "-0.9", log=path) == first
    assert path.read_bytes() == before
    assert len(small.requests) == 2
    (error,) = ask(both(small, large), "-0.4", log=path)
    assert "was asked with other messages" in str(error)


def test_a_query_asked_twice_at_once_is_run_once(small, large, tmp_path):
    small.delay = 0.1
    one, two = ask(both(small, large), "-0.1", "-0.1", ids=["q", "q"], log=tmp_path / "log.jsonl")
    assert one == two
    assert len(small.requests) == 1


def test_one_id_for_two_prompts_at_once(small, large):
    small.delay = 0.1
    one, two = ask(both(small, large), "-0.1", "-0.2", ids=["q", "q"])
    assert one.answer == "A"
    assert "was asked with other messages" in str(two)


def test_a_closed_cascade_calls_nothing(small, large):
    async def run():
        async with Cascade(POLICY, both(small, large)) as cascade:
            pass
        await cascade.answer("-0.1")

    with pytest.raises(CascadeError, match="the cascade is closed"):
        asyncio.run(run())
    assert not small.requests


def test_a_confidence_off_its_scale_does_not_spoil_the_log(large, tmp_path):
    path = tmp_path / "log.jsonl"
    replies = {"a": Reply("a", 3.0, 1.0), "b": Reply("b", -0.7, 1.0)}
    ask({"small": replies.get, "large": endpoint(large)}, "a", "b", log=path)
    log = bc.read_log(path, confidence_kind="logprob", stages=POLICY.stages, labels=False)
    assert log["confidence"].sel(query="q0").values.tolist() == pytest.approx([math.nan, -0.2], nan_ok=True)


def test_a_failure_stays_one(small, large, tmp_path):
    large.queue.append(completion("L", None))
    stages = both(small, large)
    (first,) = ask(stages, "-0.9", log=tmp_path / "log.jsonl")
    (again,) = ask(stages, "-0.9", log=tmp_path / "log.jsonl")
    assert isinstance(again, NoAnswer)
    assert str(again) == str(first)


def test_exploration(small, large, tmp_path):
    path = tmp_path / "log.jsonl"
    ids = [f"q{i}" for i in range(40)]
    results = ask(both(small, large), *["-0.1"] * 40, ids=ids, log=path, explore=0.3)
    chosen = [i for i in ids if int.from_bytes(hashlib.sha256(i.encode()).digest()[:7]) / 2**56 < 0.3]
    assert 5 < len(chosen) < 20
    assert [line["query"] for line in lines_of(path) if line["decision"] == "explore"] == sorted(
        chosen, key=[line["query"] for line in lines_of(path)].index
    )
    assert all(result.answer == "A" and result.stage == "small" for result in results)
    assert {r.query for r in results if r.cost == 6.0} == set(chosen)


# ---- what does not fit


def test_stages_of_another_policy(small, large):
    with pytest.raises(CascadeError, match="the policy has the stages 'small', 'large', but what came is for"):
        Cascade(POLICY, {"small": endpoint(small), "huge": endpoint(large)})


def test_a_signal_of_another_kind(small, large):
    with pytest.raises(
        CascadeError, match="is of the kind 'margin', but the policy's thresholds are for 'logprob'"
    ):
        Cascade(POLICY, both(small, large, signal="first_token_margin"))


def test_no_signal_where_a_threshold_is(small, large):
    with pytest.raises(CascadeError, match="'small' has no signal"):
        Cascade(POLICY, both(small, large, signal=None))


@pytest.mark.parametrize("messages", ["", " ", [], [3], 3, None, [{"content": "no role"}]])
def test_messages_that_are_none(small, large, messages):
    (error,) = ask(both(small, large), messages)
    assert isinstance(error, CascadeError)
    assert "messages should be a text" in str(error)


# ---- budgets


def test_a_budget_for_each_query(small, large):
    (result,) = ask(both(small, large), "-0.9", budget=Budget(per_query=5.9))
    assert (result.decision, result.decisions[0].reason) == ("abstain", "the budget pays no further call")
    (result,) = ask(both(small, large), "-0.9", budget=Budget(per_query=5.9, when_spent="accept"))
    assert (result.answer, result.cost) == ("A", 1.0)
    (result,) = ask(both(small, large), "-0.9", budget=Budget(per_query=6.0))
    assert result.answer == "L"


def test_exploration_keeps_the_budget(small, large):
    (result,) = ask(both(small, large), "-0.1", budget=Budget(per_query=5.9), explore=1.0)
    assert (result.answer, len(result.decisions)) == ("A", 1)
    (result,) = ask(both(small, large), "-0.1", budget=Budget(per_query=6.0), explore=1.0)
    assert (result.answer, result.cost) == ("A", 6.0)


def test_a_budget_that_is_none(small, large):
    with pytest.raises(CascadeError, match=r"budget=3\.0 is not allowed"):
        Cascade(POLICY, both(small, large), budget=3.0)


def test_a_spent_budget_accepts_nothing_unseen(small, large):
    small.queue.append(completion("B", None))
    (error,) = ask(both(small, large), "-0.1", budget=Budget(per_query=1.0, when_spent="accept"))
    assert isinstance(error, NoAnswer)
    assert "there are no log-probabilities, and the budget pays no further call" in str(error)


def test_a_budget_for_each_period_also_after_a_restart(small, large, tmp_path):
    options = {"budget": Budget(per_period=2.5), "log": tmp_path / "log.jsonl"}
    found = ask(both(small, large), "-0.1", "-0.1", "-0.1", **options)
    assert sorted(isinstance(result, BudgetSpent) for result in found) == [False, False, True]
    (again,) = ask(both(small, large), "-0.1", ids=["other"], **options)
    assert isinstance(again, BudgetSpent)
    assert len(small.requests) == 2


def test_a_budget_needs_to_know_what_a_call_costs(small, large):
    with pytest.raises(CascadeError, match="what a call of stage 'small' costs about"):
        Cascade(POLICY, both(small, large, price=(1.0, 2.0)), budget=Budget(per_query=1.0))
