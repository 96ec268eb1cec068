"""`diff`: what changes from one policy to another, and how sure it is that the new one is better."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.arrays import none_if_nan, records_of, tail_probabilities
from bayescascade._common.digits import show_apart, show_threshold
from bayescascade._common.html import frame_of, note, wrapped
from bayescascade.cascade.evaluate import evaluate
from bayescascade.display.format import chance, per_thousand, share
from bayescascade.errors import CascadeError, shown
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.policy_file import encode
from bayescascade.tuning.spec import TuningSpec

_CI_PROB = 0.9
_AMOUNTS = ("error", "cost", "abstained", "latency")


@dataclass(frozen=True)
class PolicyDiff:
    """What changes from one policy to another.

    Attributes
    ----------
    thresholds : pandas.DataFrame
        By ``stage``: thresholds ``old`` and ``new``, NaN where a policy does not run the stage, and whether they
        are the ``same``; ``old_reject`` and ``new_reject`` where one of them abstains.
    change : pandas.DataFrame
        By amount (``error``, ``cost`` and, where known, ``abstained`` and ``latency``): posterior means ``old``
        and ``new``, of the ``change`` the mean and 90% interval ``low`` to ``high``, and ``p_lower``, the
        probability that the new amount is lower. Both policies are judged by the same draws. Without a fit, the
        means that the files hold, and NaN for the rest.
    p_better : float
        Probability that the new policy does better by its own goal: a lower loss, or limits that hold at a lower
        loss or where the old policy breaks them. NaN without a fit or a goal.
    kept : tuple of float
        Probability that the limits of the new policy's goal hold in the long run, under the old policy and under
        the new one, by the model alone, without any safety margin. NaN without limits.
    text : str
        The comparison in words.
    """

    thresholds: pd.DataFrame
    change: pd.DataFrame
    p_better: float
    kept: tuple[float, float]
    text: str
    goal: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain lists and numbers, for JSON; infinities as text, None for what is not known."""
        content = {
            "thresholds": records_of(self.thresholds.reset_index()),
            "change": records_of(self.change.reset_index()),
            "p_better": none_if_nan(self.p_better),
            "kept": [none_if_nan(value) for value in self.kept],
            "goal": self.goal,
            "text": self.text,
        }
        return dict(encode(content))

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.thresholds.to_string()}\n\n{self.change.to_string(float_format='%.4g')}"

    def _repr_html_(self) -> str:
        return wrapped(note(self.text), frame_of(self.thresholds), frame_of(self.change))


def diff(old: Policy, new: Policy, *, fit: xr.DataTree | None = None) -> PolicyDiff:
    """Compare two policies: thresholds, error and cost, and how sure it is that the new one is better.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> old, new = (bc.tune(fit, max_error=limit).to_policy() for limit in (0.35, 0.3))
    >>> bool(bc.diff(old, new, fit=fit).change.loc["error", "p_lower"] > 0.9)
    True

    Parameters
    ----------
    old, new : Policy
        Of the same stages, or of some of them, and of one kind of confidence.
    fit : xarray.DataTree, optional
        The posterior under which both are compared, ideally one that has seen the newest queries. Without it only
        the contents of the policies are compared.

    Returns
    -------
    PolicyDiff

    Raises
    ------
    CascadeError
        For what is not a policy, policies of different kinds of confidence, and stages that the fit does not have.
    """
    for name, policy in (("old", old), ("new", new)):
        if not isinstance(policy, Policy):
            raise CascadeError(
                f"{name} is {shown(policy)}, not a policy; load one with Policy.load, or make one of a solution "
                "with to_policy()."
            )
    if old.confidence_kind != new.confidence_kind:
        raise CascadeError(
            f"the old policy decides on confidences of kind {old.confidence_kind!r} and the new one on kind "
            f"{new.confidence_kind!r}, so their thresholds cannot be compared; give two policies of one kind."
        )
    thresholds = _thresholds(old, new)
    goal = dict(new.metadata.get("goal") or {})
    if fit is None:
        change, p_better, kept = _by_files(old, new), float("nan"), (float("nan"),) * 2
    else:
        change, p_better, kept = _by_draws(evaluate(fit, old), evaluate(fit, new), goal)
    return PolicyDiff(thresholds, change, p_better, kept, _told(thresholds, change, p_better, kept), goal)


def _thresholds(old: Policy, new: Policy) -> pd.DataFrame:
    names = [*new.stages, *(name for name in old.stages if name not in new.stages)]
    columns: dict[str, list[float]] = {}
    for label, policy in (("old", old), ("new", new)):
        of = dict(zip(policy.stages, policy.thresholds, strict=True))
        columns[label] = [of.get(name, np.nan) for name in names]
        if old.reject is not None or new.reject is not None:
            reject = dict(zip(policy.stages, policy.reject or [-np.inf] * len(policy.stages), strict=True))
            columns[f"{label}_reject"] = [reject.get(name, np.nan) for name in names]
    table = pd.DataFrame(columns, index=pd.Index(names, name="stage"))
    same = (table["old"] == table["new"]) | (table["old"].isna() & table["new"].isna())
    if "old_reject" in table:
        same &= (table["old_reject"] == table["new_reject"]) | table["old_reject"].isna()
    return table.assign(same=same)


def _by_files(old: Policy, new: Policy) -> pd.DataFrame:
    rows = {}
    for name in ("error", "cost"):
        known = (policy.metadata.get(f"{name}_mean") for policy in (old, new))
        means = [np.nan if mean is None else float(mean) for mean in known]
        rows[name] = [*means, means[1] - means[0], np.nan, np.nan, np.nan]
    return _frame(rows)


def _by_draws(
    old: xr.Dataset, new: xr.Dataset, goal: dict[str, Any]
) -> tuple[pd.DataFrame, float, tuple[float, float]]:
    """The change of each amount, P(better) by the goal, and P(its limits hold) under either policy."""
    abstains = "abstained" in old or "abstained" in new
    before, after = (
        {"abstained": np.zeros(of["error"].size)}
        | {name: of[name].values.ravel() for name in _AMOUNTS if name in of}
        for of in (old, new)
    )
    rows, (low, high) = {}, tail_probabilities(_CI_PROB)
    for name in _AMOUNTS:
        if name in before and name in after and (abstains or name != "abstained"):
            by = after[name] - before[name]
            ends = np.quantile(by, [low, high])
            rows[name] = [before[name].mean(), after[name].mean(), by.mean(), *ends, float((by < 0.0).mean())]
    change, unknown = _frame(rows), (float("nan"), float("nan"))
    if not goal:
        return change, float("nan"), unknown
    objective = replace(TuningSpec(**TuningSpec.arguments(goal)).objective(), batch=None)  # the long run
    if not set(objective.names) <= before.keys() & after.keys():
        return change, float("nan"), unknown  # a latency that the fit does not know
    loss = [objective.loss(of) for of in (before, after)]
    if not objective.bounds:
        return change, float((loss[1] < loss[0]).mean()), unknown
    holds = [objective.bound_ratio(of) <= 1.0 for of in (before, after)]
    better = holds[1] & (~holds[0] | (loss[1] < loss[0]))
    return change, float(better.mean()), (float(holds[0].mean()), float(holds[1].mean()))


def _frame(rows: dict[str, list[float]]) -> pd.DataFrame:
    columns = ["old", "new", "change", "low", "high", "p_lower"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("amount")


def _told(thresholds: pd.DataFrame, change: pd.DataFrame, p_better: float, kept: tuple[float, float]) -> str:
    moved = thresholds[~thresholds["same"]]
    if moved.empty:
        return "Both policies decide alike: nothing changes."
    words = []
    for stage, row in moved.iterrows():
        if np.isnan(row["old"]):
            words.append(f"Stage {stage} is new, with threshold {show_threshold(row['new'])}.")
        elif np.isnan(row["new"]):
            words.append(f"Stage {stage} is no longer run.")
        elif row["old"] == row["new"]:
            words.append(f"Stage {stage} abstains below another threshold.")
        else:
            words.append(f"Stage {stage}: threshold {' to '.join(show_apart(row['old'], row['new']))}.")
    error, cost = change.loc["error"], change.loc["cost"]
    if np.isfinite(error["change"]):
        words.append(f"Expected error: {share(error['old'])} to {share(error['new'])}.")
    if np.isfinite(cost["change"]):
        ends = per_thousand(cost["old"]), per_thousand(cost["new"])
        words.append(f"Expected cost per 1,000 queries: {ends[0]} to {ends[1]}.")
    if np.isfinite(kept[1]):
        words.append(
            f"The new policy keeps its limits with probability {chance(kept[1])}, the old one with "
            f"{chance(kept[0])}, by the model without a safety margin."
        )
    if np.isfinite(p_better):
        words.append(f"The new policy is better with probability {chance(p_better)}.")
    elif error.isna()["p_lower"]:
        words.append("How sure that is takes a fit to judge both by.")
    return " ".join(words)
