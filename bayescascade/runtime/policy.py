"""Thresholds at run time: decide, save, load.

Imports NumPy and the standard library only, so that a service starts fast.
"""

import math
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, SupportsFloat

import numpy as np

from bayescascade._common.digits import show_threshold
from bayescascade._common.files import check_path, whole_file
from bayescascade._common.fixed import FixedList
from bayescascade._common.html import table_of, wrapped
from bayescascade._common.messages import show
from bayescascade._common.validation import check_text
from bayescascade.errors import CascadeError, shown
from bayescascade.runtime.explain import UNKNOWN, ranges
from bayescascade.runtime.export import case_of, router_of
from bayescascade.runtime.policy_file import read_parts, to_json
from bayescascade.runtime.thresholds import check_accept, check_reject
from bayescascade.signals.kinds import check_kind, clip_rounding, off_scale

Decision = Literal["accept", "defer", "abstain"]


@dataclass(frozen=True, repr=False)
class Policy:
    """Thresholds of a cascade, ready to run.

    Examples
    --------
    >>> from bayescascade.runtime.policy import Policy
    >>> policy = Policy(["small", "large"], [-0.1, float("-inf")], "logprob")
    >>> policy.decide("small", -0.02)
    'accept'
    >>> policy.decide("small", -0.7)
    'defer'

    Parameters
    ----------
    stages : list of str
        Names, in the order in which they are called.
    thresholds : list of float
        One per stage, on the raw confidence scale; a stage accepts when confidence >= threshold. -inf accepts
        everything, +inf nothing. The last stage always accepts, so its threshold is -inf.
    confidence_kind : str
        A key of `bayescascade.signals.KINDS`.
    metadata : dict
        Anything worth keeping that JSON can hold: the goal, the expected error and cost, versions.
    reject : list of float, optional
        One per stage, each at most the stage's threshold: a stage abstains when confidence < reject, and the query
        ends there without an answer. -inf never abstains. The last stage abstains below its own and otherwise
        accepts. None, and -inf throughout, means that no stage abstains.
    manifest : dict, optional
        Where the thresholds come from and what is expected of them, as `ThresholdSolution.to_policy` writes it:
        `verify` and `monitor` compare with it. The file then says the hash of its content.

    Raises
    ------
    CascadeError
        If the parts do not make a policy.
    """

    stages: list[str]
    thresholds: list[float]
    confidence_kind: str
    metadata: dict[str, Any] = field(default_factory=dict)
    reject: list[float] | None = None
    manifest: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # Copies that stay as they are, so that nobody changes a policy that was checked.
        object.__setattr__(self, "stages", FixedList(_check_stages(self.stages)))
        check_kind(self.confidence_kind)
        thresholds = _numbers("thresholds", self.thresholds, self.stages, "give one per stage, -inf for the last")
        check_accept(np.array(thresholds), self.stages, self.confidence_kind)
        object.__setattr__(self, "thresholds", FixedList(thresholds))
        if self.reject is not None:
            advice = "give one per stage, -inf where it never abstains"
            reject = _numbers("rejecting thresholds", self.reject, self.stages, advice)
            check_reject(np.array(reject), np.array(thresholds), self.stages, self.confidence_kind)
            object.__setattr__(self, "reject", FixedList(reject) if max(reject) > -math.inf else None)
        maps = {"metadata": self.metadata} | ({} if self.manifest is None else {"manifest": self.manifest})
        for name, value in maps.items():
            if not isinstance(value, Mapping):
                raise CascadeError(f"{name} should be a dict but is {shown(value)}")
            object.__setattr__(self, name, dict(value))

    def __hash__(self) -> int:  # of what decides; policies that are equal are alike in this
        reject = None if self.reject is None else tuple(self.reject)
        return hash((tuple(self.stages), tuple(self.thresholds), self.confidence_kind, reject))

    @property
    def signal(self) -> str | None:
        """Name of the signal that makes confidences of responses, see `confidence`; None where it is not known.

        Examples
        --------
        >>> from bayescascade.runtime.policy import Policy
        >>> Policy(["large"], [float("-inf")], "logprob", manifest={"signal": "mean_logprob"}).signal
        'mean_logprob'
        """
        found = (self.manifest or {}).get("signal")
        return found if isinstance(found, str) else None

    def decide(self, stage: str | int, confidence: SupportsFloat) -> Decision:
        """Accept this stage's answer, defer the query to the next stage, or abstain.

        Examples
        --------
        >>> from bayescascade.runtime.policy import Policy
        >>> policy = Policy(["small", "large"], [0.8, float("-inf")], "probability", reject=[0.1, 0.3])
        >>> policy.decide(0, 0.8), policy.decide("small", 0.5), policy.decide("large", 0.2)
        ('accept', 'defer', 'abstain')

        Parameters
        ----------
        stage : str or int
            Name, or position counted from 0.
        confidence : float
            On the raw scale. Overshoot of the scale by rounding (at most 1e-6) is forgiven. A last stage that
            never abstains accepts whatever its confidence, so NaN is allowed there: services seldom compute it.

        Returns
        -------
        str
            ``"accept"``, ``"defer"`` or ``"abstain"``.

        Raises
        ------
        CascadeError
            If the stage is unknown, or a confidence that is needed is not a number or off its scale.
        """
        position = self._position(stage)
        last = position == len(self.stages) - 1
        low = -math.inf if self.reject is None else self.reject[position]
        value = self._confidence(position, confidence)
        if math.isnan(value) and not (last and low == -math.inf):
            raise CascadeError(
                f"confidence at stage {self.stages[position]!r} is NaN, so there is nothing to decide on; "
                "pass the number the stage reports, or defer the query yourself"
            )
        if value < low:
            return "abstain"
        return "accept" if last or value >= self.thresholds[position] else "defer"

    def run(self, confidences: Sequence[SupportsFloat] | Mapping[str, SupportsFloat]) -> Decision:
        """Decide at the last stage that has run, given the confidences of all stages so far.

        Examples
        --------
        >>> from bayescascade.runtime.policy import Policy
        >>> policy = Policy(["small", "middle", "large"], [0.8, 0.9, float("-inf")], "probability")
        >>> policy.run([0.7]), policy.run([0.7, 0.95]), policy.run({"small": 0.7, "middle": 0.1})
        ('defer', 'accept', 'defer')

        Parameters
        ----------
        confidences : list of float, or dict of stage name to float
            Of the stages that have run, from the first on.

        Returns
        -------
        str
            As `decide` says it.

        Raises
        ------
        CascadeError
            If no confidence came, one between is missing, a name is unknown, or `decide` refuses.
        """
        if isinstance(confidences, Mapping):
            unknown = [name for name in confidences if name not in self.stages]
            if unknown:
                self._position(unknown[0] if isinstance(unknown[0], str) else str(unknown[0]))
            missing = [name for name in self.stages[: len(confidences)] if name not in confidences]
            if missing:
                raise CascadeError(
                    f"a confidence of a later stage came without that of {missing[0]!r}; give the confidences of "
                    "all stages that have run"
                )
            values = [confidences[name] for name in self.stages[: len(confidences)]]
        elif isinstance(confidences, (str, bytes, set, frozenset)) or not hasattr(confidences, "__len__"):
            raise CascadeError(f"confidences should be a list or a dict but are {shown(confidences)}")
        else:
            try:
                values = list(confidences)
            except Exception:  # whatever a class of the user's own raises
                raise CascadeError(
                    f"confidences should be a list or a dict but are {shown(confidences)}"
                ) from None
        if not 1 <= len(values) <= len(self.stages):
            raise CascadeError(
                f"got {len(values)} confidences; give those of the stages that have run, from 1 to "
                f"{len(self.stages)}"
            )
        return self.decide(len(values) - 1, values[-1])

    def _confidence(self, position: int, confidence: SupportsFloat) -> float:
        """A confidence as a number on its scale, or NaN."""
        name = self.stages[position]
        try:
            if isinstance(confidence, (str, bytes, bool)):  # what `float` takes, but no confidence is
                raise TypeError
            value = float(confidence)
        except Exception:  # whatever a class of the user's own raises
            raise CascadeError(
                f"confidence at stage {name!r} should be a number but is {show(confidence)}"
            ) from None
        value = float(clip_rounding(value, self.confidence_kind))
        if off_scale(value, self.confidence_kind):
            kind = check_kind(self.confidence_kind)
            raise CascadeError(
                f"confidence {value!r} at stage {name!r} is off the scale of this policy's confidence kind "
                f"{kind.name!r}: it should be {kind.description}"
            )
        return value

    def _position(self, stage: str | int) -> int:
        known = ", ".join(map(repr, self.stages))
        if isinstance(stage, str):
            if stage in self.stages:
                return self.stages.index(stage)
            raise CascadeError(f"unknown stage {stage!r}; this policy has {known}")
        try:
            position = operator.index(stage)  # NumPy's integers too
        except Exception:  # whatever a class of the user's own raises
            position = -1
        if isinstance(stage, bool) or not 0 <= position < len(self.stages):
            raise CascadeError(
                f"there is no stage {shown(stage)}; give a name or a position from 0 to {len(self.stages) - 1}: "
                f"this policy has {known}"
            )
        return position

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the policy as JSON; the file is either the whole new policy or what was there before.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from bayescascade.runtime.policy import Policy
        >>> policy = Policy(["small", "large"], [-0.1, float("-inf")], "logprob")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     policy.save(Path(folder) / "policy.json")
        ...     Policy.load(Path(folder) / "policy.json") == policy
        True

        Raises
        ------
        CascadeError
            If the metadata cannot be written as JSON, or the path cannot be written.
        """
        text = to_json(vars(self))
        with whole_file(path, "the policy") as part:
            part.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Policy":
        """Read a policy written by `save`, and check every part of it.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from bayescascade.runtime.policy import Policy
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "policy.json"
        ...     Policy(["small", "large"], [0.8, float("-inf")], "probability").save(path)
        ...     Policy.load(path).decide("small", 0.75)
        'defer'

        Raises
        ------
        CascadeError
            If the file is missing, truncated, foreign, of another version, or lacks or garbles a part; if it was
            changed after it was written; or decides by history, as older versions could.
        """
        check_path(path, "the policy")
        parts = read_parts(Path(path))
        try:
            return cls(**parts)
        except CascadeError as error:
            raise CascadeError(f"{path} is not a valid policy: {error}") from None

    def to_sql(self, table: str | None = None, columns: Mapping[str, str] | None = None) -> str:
        """The policy as SQL: two ``CASE`` expressions, or a query of a table with one row per query.

        Examples
        --------
        >>> from bayescascade.runtime.policy import Policy
        >>> policy = Policy(["small", "large"], [0.8, float("-inf")], "probability")
        >>> print(policy.to_sql().partition(" AS")[0])
        CASE
          WHEN "small" IS NULL OR NOT ("small" <= 1.000001e0 AND "small" >= -1e-06) THEN NULL
          WHEN "small" >= 0.8e0 THEN 'small'
          ELSE 'large'
        END

        Parameters
        ----------
        table : str, optional
            For a whole query: name of a table. It is quoted as one name.
        columns : dict of stage name to str, optional
            The columns that hold the confidences; the stages' names by default.

        Returns
        -------
        str
            ``cascade_stage`` is the stage at which a query ends, and ``cascade_decision`` is ``'accept'`` or
            ``'abstain'``. Both are NULL where a confidence that `decide` needs is NULL, NaN or off its scale. The
            last stage's is needed only if that stage may abstain.

        Raises
        ------
        CascadeError
            If a stage is unknown, or a name is none.
        """
        return case_of(self, columns, table)

    def to_vllm_router(self) -> str:
        """The policy as a route of vLLM's semantic router, in YAML, where that decides the same.

        Examples
        --------
        >>> from bayescascade.runtime.policy import Policy
        >>> policy = Policy(["small", "large"], [-0.3, float("-inf")], "logprob")
        >>> [line.strip() for line in policy.to_vllm_router().splitlines() if "threshold" in line]
        ['threshold: 0.9']

        Returns
        -------
        str

        Raises
        ------
        CascadeError
            If the router would decide otherwise: it has one threshold on a mean log-probability, so it takes
            policies of two stages that do not abstain.
        """
        return router_of(self)

    def __repr__(self) -> str:
        names = ["stages", "thresholds", "confidence_kind"]
        names += [name for name in ("metadata", "reject") if getattr(self, name)]
        parts = [f"{name}={getattr(self, name)!r}" for name in names]
        if self.manifest is not None:  # long, and for machines
            parts.append(f"manifest=<{', '.join(map(str, self.manifest))}>")
        return f"Policy({', '.join(parts)})"

    def _repr_html_(self) -> str:
        rows = []
        for position, (stage, threshold, span) in enumerate(
            zip(self.stages, self.thresholds, ranges(self), strict=True)
        ):
            rows.append([str(position), stage, _rule(threshold, "confidence ≥", "always", "never", span)])
            if self.reject is not None:
                rows[-1].append(_rule(self.reject[position], "confidence <", "never", "always"))
        columns = ["position", "stage", "accepts"] + (["abstains"] if self.reject is not None else [])
        return wrapped(table_of(columns, rows, caption=f"Policy on {self.confidence_kind}"))


def _rule(threshold: float, compared: str, low: str, high: str, span: tuple[float, float] = UNKNOWN) -> str:
    if math.isinf(threshold):
        return low if threshold < 0 else high
    return f"{compared} {show_threshold(threshold, *span)}"


def _check_stages(stages: Sequence[str]) -> list[str]:
    if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
        raise CascadeError(f"stages should be a list of one or more names but is {shown(stages)}")
    names = list(stages)
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong:
        raise CascadeError(f"a stage's name should be a non-empty string but is {shown(wrong[0])}")
    for name in names:
        check_text("stage", name)
    names = [str(name) for name in names]  # np.str_, as read from a Dataset, prints its type
    if len(set(names)) < len(names):
        raise CascadeError(f"stage names should differ but are {shown(names)}")
    return names


def _numbers(what: str, given: Any, stages: list[str], advice: str) -> list[float]:
    try:
        if isinstance(given, (str, Mapping)) or any(isinstance(t, (str, bool)) for t in given):
            raise TypeError
        values = [float(threshold) for threshold in given]
    except Exception:  # whatever a class of the user's own raises
        raise CascadeError(f"{what} should be a list of numbers but is {show(given)}") from None
    if len(values) != len(stages):
        raise CascadeError(f"got {len(values)} {what} for {len(stages)} stages ({', '.join(stages)}); {advice}")
    return values
