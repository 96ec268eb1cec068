"""What came of a query: its answer, and how it was decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bayescascade.errors import CascadeError
from bayescascade.signals.responses import number


@dataclass(frozen=True)
class Step:
    """One call: the stage, what it replied, and what was decided.

    Attributes
    ----------
    stage : str
    confidence : float
        NaN where there is none.
    cost, latency : float
        Of the call; NaN where the cost is not known, and seconds.
    decision : str
        ``"accept"``, ``"defer"``, ``"abstain"``, ``"fail"``, or ``"explore"`` for a call for the log.
    reason : str or None
        Why there is no confidence, or why not the policy but another rule decided.
    answer : str or None
    time : str
        When the call ended, in UTC.
    """

    stage: str
    confidence: float
    cost: float
    latency: float
    decision: str
    reason: str | None
    answer: str | None
    time: str

    def to_line(self) -> dict[str, Any]:
        """As columns of a log; a NaN is null, and what is graded later is empty.

        Examples
        --------
        >>> step = Step("small", 0.5, float("nan"), 0.1, "defer", None, "B", "2026-11-28T12:00:00Z")
        >>> step.to_line()["cost"] is None, step.to_line()["correct"] is None
        (True, True)
        """
        values = {name: None if _lacks(value) else value for name, value in vars(self).items()}
        return {"stage": values.pop("stage"), "confidence": values.pop("confidence"), "correct": None, **values}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Step:
        """Undo `to_line`.

        Examples
        --------
        >>> step = Step("small", 0.5, 0.1, 0.1, "defer", None, "B", "2026-11-28T12:00:00Z")
        >>> Step.from_line(step.to_line()) == step
        True
        """
        return cls(
            stage=line["stage"],
            confidence=number(line.get("confidence")),
            cost=number(line.get("cost")),
            latency=number(line.get("latency")),
            decision=line["decision"],
            reason=line.get("reason"),
            answer=line.get("answer"),
            time=str(line.get("time")),
        )


def _lacks(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@dataclass(frozen=True)
class Result:
    """The answer of a cascade to a query.

    Attributes
    ----------
    query : str
        Its id.
    answer : str or None
        None where the cascade abstained.
    stage : str
        Where the query ended.
    decision : str
        ``"accept"`` or ``"abstain"``.
    confidences : dict
        Of the stages that were called to decide, by name; NaN where there was none.
    cost : float
        Of all calls; those whose cost is not known are left out, and with none known it is NaN.
    latency : float
        Seconds of the calls that were waited for, one after another.
    decisions : list of Step
        Each call, in order; those made for the log alone stand at the end.
    """

    query: str
    answer: str | None
    stage: str
    decision: str
    confidences: dict[str, float]
    cost: float
    latency: float
    decisions: list[Step]

    @classmethod
    def of(cls, query: str, steps: Sequence[Step]) -> Result:
        """The result that these calls make.

        Examples
        --------
        >>> first = Step("small", 0.5, 0.1, 0.2, "defer", None, "A", "2026-11-28T12:00:00Z")
        >>> last = Step("large", 0.9, 1.0, 0.4, "accept", None, "B", "2026-11-28T12:00:01Z")
        >>> result = Result.of("q1", [first, last])
        >>> result.answer, result.stage, result.cost, round(result.latency, 3)
        ('B', 'large', 1.1, 0.6)
        """
        own = [step for step in steps if step.decision != "explore"]
        end = own[-1]
        costs = [step.cost for step in steps if not math.isnan(step.cost)]
        return cls(
            query=query,
            answer=end.answer if end.decision == "accept" else None,
            stage=end.stage,
            decision=end.decision,
            confidences={step.stage: step.confidence for step in own},
            cost=math.fsum(costs) if costs else math.nan,
            latency=math.fsum(step.latency for step in own),
            decisions=list(steps),
        )


class NoAnswer(CascadeError):
    """A query ended without an answer, because a stage failed where it had to decide.

    Examples
    --------
    >>> step = Step("large", float("nan"), 1.0, 0.4, "fail", "the answer is empty", None, "2026-11-28T12:00:01Z")
    >>> print(NoAnswer(Result.of("q1", [step])))
    query 'q1' has no answer: at stage 'large', the answer is empty. It is in the log; ask again under a new id

    Attributes
    ----------
    result : Result
    """

    def __init__(self, result: Result) -> None:
        reason = result.decisions[len(result.confidences) - 1].reason
        super().__init__(
            f"query {result.query!r} has no answer: at stage {result.stage!r}, {reason}. "
            "It is in the log; ask again under a new id"
        )
        self.result = result

    def __reduce__(self) -> tuple[type[NoAnswer], tuple[Result]]:
        return type(self), (self.result,)


class IdTaken(CascadeError):
    """A query's id that was another prompt's.

    Examples
    --------
    >>> raise IdTaken("the query 'q1' was asked with other messages")
    Traceback (most recent call last):
    ...
    bayescascade.runtime.result.IdTaken: the query 'q1' was asked with other messages
    """
