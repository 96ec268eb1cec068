"""What was read from files of responses, and what was not and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bayescascade._common.messages import listed

_COUNTS = ("calls", "kept", "labelled", "right", "priced", "batched")


@dataclass
class LeftOut:
    """How many calls were left out for one reason, and where the first one stands."""

    count: int
    where: str


@dataclass
class StageSummary:
    """What became of the calls of one stage."""

    calls: int = 0
    kept: int = 0
    labelled: int = 0
    right: int = 0  # of the labelled ones
    priced: int = 0
    batched: int = 0  # of the priced ones, those with the discount of a batch
    models: set[str] = field(default_factory=set)
    left_out: dict[str, LeftOut] = field(default_factory=dict)  # calls that are not in the log, by the reason
    lacking: dict[str, LeftOut] = field(default_factory=dict)  # labels and costs of calls that are

    def leave_out(self, reason: str, where: str, count: int = 1) -> None:
        """Count calls that are not in the log."""
        _count(self.left_out, reason, where, count)

    def lack(self, reason: str, where: str) -> None:
        """Count a label or a cost that a call does not have."""
        _count(self.lacking, reason, where, 1)


@dataclass
class Summary:
    """What was read: a count for every call, so that nothing is lost without a word.

    Examples
    --------
    >>> from bayescascade.logs.importers.summary import Summary
    >>> summary = Summary(signal="mean_logprob", kind="logprob")
    >>> small = summary.stage("small")
    >>> small.calls, small.kept, small.labelled, small.right, small.priced = 300, 299, 200, 150, 299
    >>> small.leave_out("status 429", "small.jsonl, line 7")
    >>> print(summary)
    Confidence: mean_logprob, of the kind logprob.
    small: 299 of 300 calls are in the log; 200 are labelled, 299 have a cost.
      left out: status 429 (1, first at small.jsonl, line 7)
    Right, of the labelled answers: small 75%.

    Attributes
    ----------
    signal, kind : str
        How confidences were made, and their kind.
    stages : dict of str to StageSummary
    queries, complete : int
        Queries in the log, and those that every stage ran.
    notes : list of str
        What was taken for granted, and what was not used.
    """

    signal: str = ""
    kind: str = ""
    stages: dict[str, StageSummary] = field(default_factory=dict)
    queries: int = 0
    complete: int = 0
    notes: list[str] = field(default_factory=list)

    def stage(self, name: str) -> StageSummary:
        """The counts of one stage."""
        return self.stages.setdefault(name, StageSummary())

    @property
    def left_out(self) -> int:
        """Calls that are not in the log."""
        return sum(reason.count for stage in self.stages.values() for reason in stage.left_out.values())

    @property
    def text(self) -> str:
        """The summary as text, a line or two for each stage."""
        return "\n".join(self._lines())

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """The same as counts and texts by name, as JSON has them.

        Examples
        --------
        >>> from bayescascade.logs.importers.summary import Summary
        >>> summary = Summary(signal="mean_logprob", kind="logprob")
        >>> summary.stage("small").leave_out("status 429", "small.jsonl, line 7")
        >>> summary.to_dict()["stages"]["small"]["left_out"]
        [{'reason': 'status 429', 'count': 1, 'first_at': 'small.jsonl, line 7'}]
        """
        stages = {
            name: {
                **{key: getattr(stage, key) for key in _COUNTS},
                "models": sorted(stage.models),
                "left_out": _records(stage.left_out),
                "lacking": _records(stage.lacking),
            }
            for name, stage in self.stages.items()
        }
        made = {"signal": self.signal or None, "confidence_kind": self.kind or None}
        return {**made, "queries": self.queries, "complete": self.complete, "stages": stages, "notes": self.notes}

    def _lines(self) -> Iterable[str]:
        if self.signal:
            yield f"Confidence: {self.signal}, of the kind {self.kind}."
        for name, stage in self.stages.items():
            label = f"{stage.labelled} are labelled, {stage.priced} have a cost"
            yield f"{name}: {stage.kept} of {stage.calls} calls are in the log; {label}."
            if len(stage.models) > 1:
                yield f"  models: {listed(sorted(stage.models))}"
            if stage.left_out:
                yield f"  left out: {_reasons(stage.left_out)}"
            if stage.lacking:
                yield f"  lacking: {_reasons(stage.lacking)}"
        known = {name: stage for name, stage in self.stages.items() if stage.labelled}
        if known:
            shares = (f"{name} {stage.right / stage.labelled:.0%}" for name, stage in known.items())
            yield f"Right, of the labelled answers: {', '.join(shares)}."
        if self.queries:
            joined = f"; every stage ran {self.complete} of them" if len(self.stages) > 1 else ""
            yield f"{self.queries} queries{joined}."
        yield from self.notes


def _count(reasons: dict[str, LeftOut], reason: str, where: str, count: int) -> None:
    found = reasons.setdefault(reason, LeftOut(0, where))
    found.count += count


def _records(reasons: dict[str, LeftOut]) -> list[dict[str, Any]]:
    """Reasons, the commonest first."""
    ordered = sorted(reasons.items(), key=lambda item: -item[1].count)
    return [{"reason": reason, "count": found.count, "first_at": found.where} for reason, found in ordered]


def _reasons(reasons: dict[str, LeftOut]) -> str:
    return "; ".join("{reason} ({count}, first at {first_at})".format(**one) for one in _records(reasons))
