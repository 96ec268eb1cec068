"""A policy in the words of other systems: as SQL, and for the semantic router of vLLM."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bayescascade._common.messages import counted, listed, show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.signals.kinds import ROUNDING, SignalKind, check_kind

if TYPE_CHECKING:
    from bayescascade.runtime.policy import Policy

# The router's scale for avg_logprob goes from this log-probability to 0.
_FLOOR = -3.0


class _Branch(NamedTuple):
    """A condition, and what becomes of queries that meet it first; None where nothing can be said."""

    when: str
    stage: str | None
    decision: str | None


def case_of(policy: Policy, columns: Any = None, table: Any = None) -> str:
    """The expressions of `Policy.to_sql`, or a whole query of a table."""
    names = _columns(policy, columns)
    branches = _branches(policy, names)
    stage = _case(branches, [branch.stage for branch in branches])
    decision = _case(branches, [branch.decision for branch in branches])
    found = f"{stage} AS cascade_stage,\n{decision} AS cascade_decision"
    if table is None:
        return found + "\n"
    if not isinstance(table, str) or not table.strip():
        raise bad_value("table", table, "give the name of a table")
    return f"SELECT *,\n{found}\nFROM {_name(table)}\n"


def _columns(policy: Policy, columns: Any) -> list[str]:
    if columns is None:
        return list(policy.stages)
    if not isinstance(columns, Mapping):
        raise bad_value("columns", columns, "give the column of each stage's confidence")
    unknown = [name for name in columns if name not in policy.stages]
    if unknown:
        raise CascadeError(
            f"there is no stage {show(unknown[0])}; the policy has {listed(policy.stages)}", parameter="columns"
        )
    wrong = [name for name in columns.values() if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise bad_value("columns", wrong[0], "give names of columns", "is not the name of a column")
    return [columns.get(name, name) for name in policy.stages]


def _branches(policy: Policy, columns: list[str]) -> list[_Branch]:
    """What is decided, stage by stage; the last branch takes all that are left."""
    kind = check_kind(policy.confidence_kind)
    reject = policy.reject or [-math.inf] * len(policy.stages)
    rules = zip(policy.stages, columns, policy.thresholds, reject, strict=True)
    found: list[_Branch] = []
    for place, (stage, column, accept, low) in enumerate(rules):
        last, x = place == len(policy.stages) - 1, _name(column)
        if last and low == -math.inf:  # needs no confidence, as in `Policy.decide`
            return [*found, _Branch("", stage, "accept")]
        found.append(_Branch(_no_confidence(x, kind), None, None))
        # A confidence a hair off its scale counts as the scale's end. So an end is no number to compare with: all
        # confidences are on its one side.
        if low > kind.upper or low == math.inf:
            return [*found, _Branch("", stage, "abstain")]
        if low > kind.lower:
            found.append(_Branch(f"{x} < {_number(low)}", stage, "abstain"))
        if last or accept <= kind.lower:
            return [*found, _Branch("", stage, "accept")]
        if accept <= kind.upper and accept < math.inf:
            found.append(_Branch(f"{x} >= {_number(accept)}", stage, "accept"))
    raise AssertionError("the last stage takes all that are left")


def _no_confidence(x: str, kind: SignalKind) -> str:
    """Whether a column holds nothing, NaN or what is off the scale.

    NaN lies above all numbers in some databases and compares with none in others: in both it is not at most any.
    """
    top = kind.upper + ROUNDING if kind.upper < math.inf else sys.float_info.max
    on_scale = f"{x} <= {_number(top)}"
    if kind.lower > -math.inf:
        on_scale += f" AND {x} >= {_number(kind.lower - ROUNDING)}"
    elif not kind.minus_inf:
        on_scale += f" AND {x} >= {_number(-sys.float_info.max)}"
    return f"{x} IS NULL OR NOT ({on_scale})"


def _case(branches: list[_Branch], values: list[str | None]) -> str:
    texts = ["NULL" if value is None else "'" + value.replace("'", "''") + "'" for value in values]
    *cases, rest = zip(branches, texts, strict=True)
    lines = [f"  WHEN {branch.when} THEN {text}" for branch, text in cases]
    if not lines:  # a CASE has at least one condition
        return rest[1]
    return "\n".join(["CASE", *lines, f"  ELSE {rest[1]}", "END"])


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _number(value: float) -> str:
    """A number as a double: without an exponent it would be a decimal in some databases."""
    text = repr(float(value))
    return text if "e" in text else f"{text}e0"


# ---- vLLM's semantic router


def router_of(policy: Policy) -> str:
    """The route of `Policy.to_vllm_router`."""
    _check_router(policy)
    small, large = (json.dumps(name, ensure_ascii=False) for name in policy.stages)
    return f"""\
# A route of vLLM's semantic router that decides as this policy does, where the confidence is the mean
# log-probability of all tokens. A call that fails, or has no log-probabilities, fails the request: with
# "skip" the router could return an answer that was not sure enough.
modelRefs:
  - model: {small}
  - model: {large}
algorithm:
  type: confidence
  confidence:
    confidence_method: avg_logprob
    threshold: {_scaled(policy.thresholds[0])!r}
    escalation_order: declared
    on_error: fail
"""


def _scaled(logprob: float) -> float:
    return (logprob - _FLOOR) / -_FLOOR


def _check_router(policy: Policy) -> None:
    threshold = policy.thresholds[0]
    if len(policy.stages) != 2:
        stages = counted(len(policy.stages), "stage", "stages")
        why = f"it has one threshold for all stages, and the policy has {stages}, not 2"
    elif policy.confidence_kind != "logprob":
        why = (
            "its confidence is a mean log-probability, and the policy's is of the kind "
            f"{policy.confidence_kind!r}, not 'logprob'"
        )
    elif policy.reject is not None:
        why = "it never abstains, and the policy does"
    elif not threshold <= 0.0:
        why = "it has no threshold that nothing reaches, and the policy's first stage never accepts"
    elif not _scaled(threshold) > 0.0:
        why = f"it takes all that is below {_FLOOR:g} for {_FLOOR:g}, and the policy's threshold is {threshold:g}"
    else:
        return
    raise CascadeError(
        f"the router of vLLM cannot decide as this policy does: {why}. Serve the policy itself instead"
    )
