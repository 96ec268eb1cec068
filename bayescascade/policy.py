"""Thresholds at run time: decide, save, load.

Imports NumPy and the standard library only, so that a service starts fast.
"""

import html
import json
import math
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, SupportsFloat

from bayescascade.errors import CascadeError
from bayescascade.files import whole_file
from bayescascade.signals import check_kind, clip_rounding, off_scale

FORMAT = "bayescascade-policy"
VERSION = 1

Decision = Literal["accept", "defer"]


@dataclass(frozen=True, repr=False)
class Policy:
    """Thresholds of a cascade, ready to run.

    Examples
    --------
    >>> from bayescascade.policy import Policy
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

    Raises
    ------
    CascadeError
        If the parts do not make a policy.
    """

    stages: list[str]
    thresholds: list[float]
    confidence_kind: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Copies, so that a list changed later by the caller does not change the policy.
        object.__setattr__(self, "stages", _check_stages(self.stages))
        check_kind(self.confidence_kind)
        thresholds = _check_thresholds(self.thresholds, self.stages, self.confidence_kind)
        object.__setattr__(self, "thresholds", thresholds)
        if not isinstance(self.metadata, Mapping):
            raise CascadeError(f"metadata should be a dict but is {self.metadata!r}")
        object.__setattr__(self, "metadata", dict(self.metadata))

    def decide(self, stage: str | int, confidence: SupportsFloat) -> Decision:
        """Accept this stage's answer, or defer the query to the next stage.

        Examples
        --------
        >>> from bayescascade.policy import Policy
        >>> policy = Policy(["small", "large"], [0.8, float("-inf")], "probability")
        >>> policy.decide(0, 0.8), policy.decide("large", 0.1)
        ('accept', 'accept')

        Parameters
        ----------
        stage : str or int
            Name, or position counted from 0.
        confidence : float
            On the raw scale. Overshoot of the scale by rounding (at most 1e-6) is forgiven. The last stage
            accepts whatever its confidence, so NaN is allowed there: services seldom compute it.

        Raises
        ------
        CascadeError
            If the stage is unknown, or the confidence is missing, not a number or off its scale.
        """
        position = self._position(stage)
        name = self.stages[position]
        try:
            value = float(confidence)
        except (TypeError, ValueError):
            raise CascadeError(f"confidence at stage {name!r} should be a number but is {confidence!r}") from None
        last = position == len(self.stages) - 1
        if math.isnan(value) and not last:
            raise CascadeError(
                f"confidence at stage {name!r} is NaN, so there is nothing to decide on; "
                "pass the number the stage reports, or defer the query yourself"
            )
        value = float(clip_rounding(value, self.confidence_kind))
        if off_scale(value, self.confidence_kind):
            kind = check_kind(self.confidence_kind)
            raise CascadeError(
                f"confidence {value!r} at stage {name!r} is off the scale of this policy's confidence kind "
                f"{kind.name!r}: it should be {kind.description}"
            )
        return "accept" if last or value >= self.thresholds[position] else "defer"

    def _position(self, stage: str | int) -> int:
        known = ", ".join(map(repr, self.stages))
        if isinstance(stage, str):
            if stage in self.stages:
                return self.stages.index(stage)
            raise CascadeError(f"unknown stage {stage!r}; this policy has {known}")
        try:
            position = operator.index(stage)  # NumPy's integers too
        except TypeError:
            position = -1
        if isinstance(stage, bool) or not 0 <= position < len(self.stages):
            raise CascadeError(
                f"there is no stage {stage!r}; give a name or a position from 0 to {len(self.stages) - 1}: "
                f"this policy has {known}"
            )
        return position

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the policy as JSON; the file is either the whole new policy or what was there before.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from bayescascade.policy import Policy
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
        content = {
            "format": FORMAT,
            "version": VERSION,
            "confidence_kind": self.confidence_kind,
            "stages": self.stages,
            "thresholds": [_encode(threshold) for threshold in self.thresholds],
            "metadata": _encode(self.metadata),
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        with whole_file(path, "the policy") as part:
            part.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Policy":
        """Read a policy written by `save`, and check every part of it.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from bayescascade.policy import Policy
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "policy.json"
        ...     Policy(["small", "large"], [0.8, float("-inf")], "probability").save(path)
        ...     Policy.load(path).decide("small", 0.75)
        'defer'

        Raises
        ------
        CascadeError
            If the file is missing, truncated, foreign, of another version, or lacks or garbles a part.
        """
        content = _read_json(Path(path))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CascadeError(
                f'{path} is not a policy file: it does not say "format": "{FORMAT}"; '
                "write one with Policy.save or `bayescascade tune -o`"
            )
        version = content.get("version")
        if isinstance(version, bool) or version != VERSION:
            raise CascadeError(
                f"{path} is a policy of version {version!r}, but this bayescascade reads version {VERSION}; "
                "upgrade bayescascade, or write the policy again with this version"
            )
        names = ("stages", "thresholds", "confidence_kind", "metadata")
        missing = [name for name in names if name not in content]
        if missing:
            raise CascadeError(f"{path} is not a whole policy: missing {', '.join(missing)}; write it again")
        try:
            thresholds = _decode(content["thresholds"])
            return cls(content["stages"], thresholds, content["confidence_kind"], content["metadata"])
        except CascadeError as error:
            raise CascadeError(f"{path} is not a valid policy: {error}") from None

    def __repr__(self) -> str:
        names = ("stages", "thresholds", "confidence_kind") + (("metadata",) if self.metadata else ())
        return f"Policy({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{position}</td><td>{html.escape(stage)}</td><td>{_rule(threshold)}</td></tr>"
            for position, (stage, threshold) in enumerate(zip(self.stages, self.thresholds, strict=True))
        )
        return (
            f"<table><caption>Policy on {html.escape(self.confidence_kind)}</caption>"
            f"<thead><tr><th></th><th>stage</th><th>accepts</th></tr></thead><tbody>{rows}</tbody></table>"
        )


def _rule(threshold: float) -> str:
    if math.isinf(threshold):
        return "always" if threshold < 0 else "never"
    return f"confidence &ge; {threshold:.6g}"


def _check_stages(stages: Sequence[str]) -> list[str]:
    if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
        raise CascadeError(f"stages should be a list of one or more names but is {stages!r}")
    names = list(stages)
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong:
        raise CascadeError(f"a stage's name should be a non-empty string but is {wrong[0]!r}")
    names = [str(name) for name in names]  # np.str_, as read from a Dataset, prints its type
    if len(set(names)) < len(names):
        raise CascadeError(f"stage names should differ but are {names!r}")
    return names


def _check_thresholds(thresholds: Sequence[float], stages: list[str], kind: str) -> list[float]:
    try:
        if isinstance(thresholds, (str, Mapping)) or any(isinstance(t, (str, bool)) for t in thresholds):
            raise TypeError
        values = [float(threshold) for threshold in thresholds]
    except (TypeError, ValueError):
        raise CascadeError(f"thresholds should be a list of numbers but is {thresholds!r}") from None
    if len(values) != len(stages):
        raise CascadeError(
            f"got {len(values)} thresholds for {len(stages)} stages ({', '.join(stages)}); "
            "give one per stage, -inf for the last"
        )
    if values[-1] != -math.inf:
        raise CascadeError(
            f"the last stage ({stages[-1]!r}) always accepts, so its threshold should be -inf "
            f"but is {values[-1]!r}"
        )
    for stage, value in zip(stages, values, strict=True):
        # A finite threshold off the scale was meant for another kind: it would never, or always, accept.
        if math.isnan(value) or (math.isfinite(value) and off_scale(clip_rounding(value, kind), kind)):
            raise CascadeError(
                f"threshold {value!r} of stage {stage!r} is off the scale of {kind!r}: it should be "
                f"{check_kind(kind).description}, or -inf (always accept) or inf (never accept)"
            )
    return values


def _encode(value: Any) -> Any:
    """Plain JSON: infinities and NaN as strings, NumPy scalars and arrays as numbers and lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise CascadeError(
        f"the policy's metadata holds {value!r}, which JSON cannot; keep numbers, strings and lists"
    )


def _decode(thresholds: Any) -> Any:
    """Undo `_encode` for thresholds; what is not a list of numbers is left for the checks to name."""
    if not isinstance(thresholds, list):
        return thresholds
    infinities = {"-inf": -math.inf, "inf": math.inf}
    return [infinities.get(item, item) if isinstance(item, str) else item for item in thresholds]


def _read_json(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CascadeError(f"there is no policy file {path}; write one with Policy.save") from None
    except OSError as error:
        raise CascadeError(f"the policy file {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CascadeError(f"{path} is not a policy file: it holds binary data, not JSON") from None
    if not text.strip():
        raise CascadeError(f"the policy file {path} is empty; write it again with Policy.save")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        # A file cut short fails at its end; a foreign one (YAML, a log) fails at its start.
        cause = "foreign to bayescascade" if text.lstrip()[0] != "{" else "truncated or damaged"
        raise CascadeError(f"{path} is {cause}: not readable as JSON ({error}); write it again") from None
