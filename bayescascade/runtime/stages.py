"""The stages of a running cascade: checked against its policy, and the functions among them called."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.runtime.endpoint import Endpoint, Messages
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.reply import Reply
from bayescascade.signals.confidence import check_signal, refuse_other_signal
from bayescascade.signals.responses import number

Stage = Endpoint | Callable[[Messages], Any]


def check_stages(policy: Policy, stages: Any) -> list[Stage]:
    """The stages in the policy's order, or `CascadeError`.

    Examples
    --------
    >>> policy = Policy(["human"], [float("-inf")], "probability")
    >>> len(check_stages(policy, {"human": input}))
    1
    """
    if not isinstance(policy, Policy):
        raise bad_value("policy", policy, "load one with Policy.load")
    if not isinstance(stages, Mapping):
        raise bad_value("stages", stages, "give an Endpoint for each stage's name")
    if set(stages) != set(policy.stages):
        raise CascadeError(
            f"the policy has the stages {listed(policy.stages)}, but what came is for {listed(list(stages))}; "
            "give each stage of the policy an endpoint under its name",
            parameter="stages",
        )
    ordered = [stages[name] for name in policy.stages]
    for name, stage in zip(policy.stages, ordered, strict=True):
        if isinstance(stage, Endpoint):
            _check_kind(policy, name, stage)
        elif not callable(stage):
            raise CascadeError(f"stage {name!r} should be an Endpoint or a function but is {show(stage)}")
    return ordered


def _check_kind(policy: Policy, name: str, stage: Endpoint) -> None:
    if stage.kind is None:
        if name != policy.stages[-1] or rejects(policy):
            raise CascadeError(
                f"stage {name!r} has no signal, but the policy compares its confidence with a threshold; give the "
                "signal that its log was made with"
            )
    elif stage.kind != policy.confidence_kind:
        raise CascadeError(
            f"the signal of stage {name!r} is of the kind {stage.kind!r}, but the policy's thresholds are for "
            f"{policy.confidence_kind!r}; give the signal that its log was made with"
        )
    elif stage.signal is not None:
        refuse_other_signal(check_signal(stage.signal).name, policy.signal, f"stage {name!r}")


def expected_costs(policy: Policy, stages: Sequence[Stage]) -> list[float]:
    """What a call of each stage costs about; functions are taken to cost nothing.

    Examples
    --------
    >>> expected_costs(Policy(["large"], [float("-inf")], "logprob"), [Endpoint("m", price=0.01)])
    [0.01]
    """
    found = []
    for name, stage in zip(policy.stages, stages, strict=True):
        cost = stage.expected if isinstance(stage, Endpoint) else 0.0
        if cost is None:
            raise CascadeError(
                f"a budget needs to know what a call of stage {name!r} costs about before it is made; give its "
                "expected_cost"
            )
        found.append(cost)
    return found


def rejects(policy: Policy) -> bool:
    """Whether the last stage may abstain.

    Examples
    --------
    >>> rejects(Policy(["large"], [float("-inf")], "probability", reject=[0.2]))
    True
    """
    return policy.reject is not None and policy.reject[-1] > -math.inf


async def call_function(function: Callable[[Messages], Any], messages: Messages) -> Reply:
    """The reply of a function, which may be async; what it raises is a call that failed.

    Examples
    --------
    >>> asyncio.run(call_function(lambda messages: 1 / 0, "What is 1 / 0?")).reason
    'the function raised ZeroDivisionError'
    """
    try:
        if inspect.iscoroutinefunction(function):
            said = await function(messages)
        else:
            said = await asyncio.to_thread(function, messages)  # a person takes long
            if inspect.isawaitable(said):
                said = await said
    except Exception as error:  # whatever it raises; its text may hold anything
        return Reply(reason=f"the function raised {type(error).__name__}")
    if isinstance(said, Reply):
        confidence, cost = number(said.confidence), number(said.cost)
        answer = said.answer if isinstance(said.answer, str) and said.answer.strip() else None
        reason = said.reason if said.reason or answer else "the answer is empty"
        return replace(
            said, answer=answer, reason=reason, confidence=confidence, cost=cost if cost >= 0.0 else math.nan
        )
    if isinstance(said, str) and said.strip():
        return Reply(said)
    return Reply(reason="the function returned no text")
