"""Whatever a provider sends: a decision by rule or an error, and never an accept without a confidence."""

import asyncio
import copy
import math

from helpers.model_server import completion
from hypothesis import given, settings
from hypothesis import strategies as st

import bayescascade as bc
from bayescascade import Cascade, Endpoint, Policy, Reply
from bayescascade.runtime.result import NoAnswer

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner)),
    max_leaves=8,
)
PLACES = [
    ["choices"],
    ["choices", 0],
    ["choices", 0, "message"],
    ["choices", 0, "message", "content"],
    ["choices", 0, "message", "refusal"],
    ["choices", 0, "finish_reason"],
    ["choices", 0, "logprobs"],
    ["choices", 0, "logprobs", "content"],
    ["choices", 0, "logprobs", "content", 0],
    ["choices", 0, "logprobs", "content", 0, "logprob"],
    ["choices", 0, "logprobs", "content", 0, "token"],
    ["usage"],
    ["usage", "prompt_tokens"],
    ["error"],
]


@st.composite
def responses(draw):
    """A completion, one that is broken somewhere, or anything."""
    found = completion("B", draw(st.floats(-3.0, 0.0)))
    if draw(st.booleans()):
        return draw(JSON) if draw(st.booleans()) else found
    *path, last = draw(st.sampled_from(PLACES))
    target = found
    for step in path:
        target = target[step]
    target[last] = draw(JSON)
    return found


class Replays(Endpoint):
    """An endpoint whose responses are given."""

    given = ()

    def client(self):
        return Client()

    async def ask(self, client, messages):
        return self.read(copy.deepcopy(self.given))


class Client:
    async def close(self):
        pass


def endpoint(response, **options):
    found = Replays("m", price=(1.0, 2.0), **options)
    object.__setattr__(found, "given", response)
    return found


def confidence_of(response):
    try:
        return bc.confidence(response)
    except bc.NoConfidence:
        return math.nan


def outcome(policy, stages):
    async def run():
        async with Cascade(policy, stages) as cascade:
            try:
                return await cascade.answer("a question")
            except NoAnswer as error:
                return error.result

    return asyncio.run(run())


def check(result, policy, responses):
    for step, response in zip(result.decisions, responses, strict=False):
        assert math.isnan(step.confidence) or step.confidence == confidence_of(response)
        if step.decision in ("accept", "abstain"):
            assert step.decision == policy.decide(step.stage, step.confidence)
            assert not math.isnan(step.confidence)
        if step.decision == "accept":
            assert step.answer is not None
            assert step.answer.strip()
        assert math.isnan(step.cost) or 0.0 <= step.cost < math.inf
    assert result.decisions[-1].decision != "defer"
    assert (result.answer is None) == (result.decision != "accept")


@settings(max_examples=150, deadline=None)
@given(responses(), responses(), st.sampled_from(["defer", "fail"]), st.sampled_from([None, [-2.5, -2.0]]))
def test_any_response_ends_in_a_decision_by_rule_or_an_error(first, second, on_failure, reject):
    policy = Policy(["small", "large"], [-0.5, -math.inf], "logprob", reject=reject)
    stages = {"small": endpoint(first, on_failure=on_failure), "large": endpoint(second)}
    check(outcome(policy, stages), policy, [first, second])


@settings(max_examples=100, deadline=None)
@given(st.one_of(JSON, st.builds(Reply, SCALARS, SCALARS, SCALARS, st.none())))
def test_any_value_of_a_function(value):
    policy = Policy(["mine", "last"], [-0.5, -math.inf], "logprob")
    result = outcome(policy, {"mine": lambda messages: value, "last": lambda messages: "by hand"})
    first = result.decisions[0]
    assert first.decision in ("accept", "defer")
    if first.decision == "accept":
        assert -0.5 <= first.confidence <= 0.0
        assert isinstance(value, Reply)
        assert value.answer == first.answer
