"""`verify`: does a policy keep its promise on labelled queries, and on which of their slices does it not?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import beta

from bayescascade._common.files import write_json
from bayescascade._common.html import frame_of, note, wrapped
from bayescascade._common.messages import show
from bayescascade._common.validation import check_prob
from bayescascade.cascade.empirical import cost_of_queries
from bayescascade.cascade.predictive import Prediction, predict
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.format import CI_PROB, per_thousand, share
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.monitoring.monitor import check_policy, log_of, served_queries
from bayescascade.posterior.schema import data_hash
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.policy_file import encode

KEPT, BROKEN, UNKNOWN = 0, 1, 2  # exit codes
_MOST_SLICES = 100
_WORDS = {True: "kept", False: "NOT KEPT", None: "cannot be told"}


@dataclass(frozen=True, repr=False)
class Verification:
    """Whether a policy keeps its promise on labelled queries.

    Attributes
    ----------
    kept : bool or None
        True: shown to be kept on all queries, and on no slice shown not to be. False: shown not to be kept, on
        all or on a slice. None: the labels are too few to tell.
    table : pandas.DataFrame
        A row for all queries and for each slice: ``n`` labelled queries, how many are ``wrong``, the ``error``
        and the rates (``low``, ``high``) that these leave possible, and ``kept``.
    failed : list of str
        Slices on which the promise is not kept; ``"all"`` is all queries.
    limit, prob : float
    text : str
        In words.
    """

    kept: bool | None
    table: pd.DataFrame
    failed: list[str]
    limit: float
    prob: float
    text: str

    @property
    def exit_code(self) -> int:
        """0 kept, 1 not kept, 2 cannot be told."""
        return {True: KEPT, False: BROKEN, None: UNKNOWN}[self.kept]

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.shown().to_string(index=False)}"

    def _repr_html_(self) -> str:
        lead = {True: "Kept.", False: "Not kept.", None: "Cannot be told."}[self.kept]
        return wrapped(note(self.text, lead=lead, passed=self.kept), frame_of(self.shown()))

    def shown(self) -> pd.DataFrame:
        """The table as a reader wants it."""
        out = self.table.copy()
        for name in ("error", "low", "high"):
            out[name] = ["" if np.isnan(x) else share(x) for x in out[name]]
        return out.assign(kept=[_WORDS[kept] for kept in out["kept"]])

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain numbers and texts."""
        content = {
            "text": self.text,
            "exit_code": self.exit_code,
            "kept": self.kept,
            "failed": self.failed,
            "limit": self.limit,
            "prob": self.prob,
            "slices": self.table.to_dict("records"),
        }
        return dict(encode(content))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON, whole or not at all."""
        write_json(path, self.to_dict(), "the verification")
        return Path(path)


def verify(
    policy: Policy,
    labelled: Any,
    *,
    by: str | None = None,
    max_error: float | None = None,
    prob: float | None = None,
) -> Verification:
    """Ask labelled queries whether a policy keeps its promise of an error, on all and on each slice of them.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> policy = bc.tune(bc.fit(log, random_seed=1, progressbar=False), max_error=0.35).to_policy()
    >>> new = bc.simulate(400, n_stages=3, random_seed=5).assign_coords(stage=policy.stages)
    >>> found = bc.verify(policy, new)
    >>> found.exit_code, found.table["n"].item()
    (0, 400)

    Parameters
    ----------
    policy : Policy
    labelled : path, DataFrame or Dataset
        What `read_log` takes: queries that the policy was not tuned on, with the label of the answer that the
        policy gives them. Stages that it does not send a query to may be missing.
    by : str, optional
        A column of the log that says which slice a query belongs to; by default its tasks, where it has any.
    max_error : float, optional
        The limit, in (0, 1); by default the policy's promise.
    prob : float, optional
        Confidence of each one-sided bound, in (0, 1); by default that of the promise, else 0.9.

    Returns
    -------
    Verification

    Raises
    ------
    CascadeError
        If there is no limit, the log is of other stages or another kind, no answer has a label, or the column is
        missing or has more than 100 values.

    Notes
    -----
    The bounds are exact (Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404). Whatever the rate, the lower bound
    is above it with a probability of at most 1 - ``prob``, and so is the upper bound below it. The promise is
    *kept* if the upper bound is at most the limit, and *not kept* if the lower bound is above it. Otherwise it
    *cannot be told*. The bounds of slices are wider, so that this holds for all of them together. The fit is not
    used, because the question is whether it still holds. For comparison, the text says what the manifest expects
    this many queries to show.
    """
    check_policy(policy)
    limit, prob = _limit(policy, max_error, prob)
    log = _read(policy, labelled, by)
    rule = DecisionRule.from_any(policy, policy.stages, policy.confidence_kind)
    slices, wrong, cost = _outcomes(policy, rule, log, by)
    same = policy.metadata.get("data_hash") == data_hash(log)
    rows = [("all", *_judged(wrong, limit, prob))]
    names = [] if slices is None else list(dict.fromkeys(slices.tolist()))
    each = 1.0 - (1.0 - prob) / max(len(names), 1)
    rows += [(name, *_judged(wrong[slices == name], limit, each)) for name in names]
    table = pd.DataFrame(rows, columns=["slice", "n", "wrong", "error", "low", "high", "kept"])
    table["kept"] = table["kept"].astype(object)
    failed = [row[0] for row in rows if row[-1] is False]
    kept = False if failed else rows[0][-1]
    text = _text(rows, limit, prob) + _expected(policy, rule, wrong, cost)
    if same:
        text += " The policy was tuned on these very queries, so this is optimistic; verify on new ones."
    return Verification(kept=kept, table=table, failed=failed, limit=limit, prob=prob, text=text)


def _limit(policy: Policy, max_error: float | None, prob: float | None) -> tuple[float, float]:
    goal = policy.metadata.get("goal")
    goal = goal if isinstance(goal, dict) else {}
    limit = goal.get("max_error") if max_error is None else max_error
    if limit is None:
        raise CascadeError(
            "{} is not given, and the policy promises no error; say what the error may be at most.",
            (option("max_error"),),
            parameter="max_error",
        )
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0.0 < limit < 1.0:
        raise bad_value("max_error", limit, "give a share of wrong answers strictly between 0 and 1")
    chosen = float(goal.get("prob", 0.9)) if prob is None else prob
    check_prob("prob", chosen)
    return float(limit), float(chosen)


def _read(policy: Policy, labelled: Any, by: str | None) -> xr.Dataset:
    """The log, whose column ``by`` is its tasks if it comes from a table."""
    if isinstance(labelled, xr.Dataset) and by is not None and by not in labelled.coords:
        raise bad_value(
            "by", by, f"choose one of {', '.join(map(str, labelled.coords))}", "is not a coordinate of the log"
        )
    return log_of(policy, labelled, by)


def _outcomes(
    policy: Policy, rule: DecisionRule, labelled: xr.Dataset, by: str | None
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Slices and errors of queries whose answer is known to be right or wrong, and what they cost."""
    seen = served_queries(policy, labelled)[1]
    route = rule.apply(seen.confidence)
    accepted = route.accepted[0].T
    known = (accepted & np.isfinite(seen.correct)).any(axis=1)
    if route.abstained is not None:
        followed = (route.reach[0].T & ~np.isnan(seen.confidence)).any(axis=1)
        unlabelled = int((followed & ~known & ~route.abstained[0]).sum())
        if unlabelled:
            raise CascadeError(
                f"{unlabelled} queries have no label of their answer. The policy abstains, and what it leaves "
                "without an answer needs no label, so these would count too much; label all answers, or "
                "drop those queries."
            )
        known |= route.abstained[0]
    if not known.any():
        raise CascadeError(
            "no query ran the stages that the policy sends it to and has a label of its answer, so nothing can be "
            "told; label the answers that the policy gives."
        )
    wrong = (accepted & (seen.correct < 0.5)).any(axis=1)[known].astype(float)
    slices = None
    if by or "task" in labelled.coords:
        name = by if by in labelled.coords else "task"  # as which a file's column was read
        slices = labelled[name].values.astype(str)[known]
    if slices is not None and len(set(slices.tolist())) > _MOST_SLICES:
        raise bad_value(
            "by", by or "task", f"choose a column of at most {_MOST_SLICES} values", "has too many values"
        )
    cost = cost_of_queries(labelled.sel(stage=policy.stages), rule)[0][known]
    return slices, wrong, cost


def _judged(wrong: np.ndarray, limit: float, prob: float) -> tuple[int, int, float, float, float, bool | None]:
    n, errors = len(wrong), int(wrong.sum())
    if n == 0:
        return 0, 0, float("nan"), 0.0, 1.0, None
    low = 0.0 if errors == 0 else float(beta.ppf(1.0 - prob, errors, n - errors + 1))
    high = 1.0 if errors == n else float(beta.ppf(prob, errors + 1, n - errors))
    kept = True if high <= limit else False if low > limit else None
    return n, errors, errors / n, low, high, kept


def _text(rows: list[Any], limit: float, prob: float) -> str:
    _, n, wrong, error, low, high, kept = rows[0]
    promise = f"an error of at most {share(limit)}"
    rate = f"{wrong} of {n} labelled queries are wrong, {share(error)}; the rate is {share(low)} to {share(high)}"
    rate += f" (one-sided bounds, {prob:.0%} each)"
    text = f"{_WORDS[kept].capitalize()}: {promise}. {rate[0].upper()}{rate[1:]}."
    if kept is None:
        text += " Label more queries: the bounds have the limit between them."
    slices = [row for row in rows[1:] if row[-1] is False]
    if slices:
        each = [f"{show(name)} ({wrong} of {n}, at least {share(low)})" for name, n, wrong, _, low, *_ in slices]
        text += f" Not kept on {', '.join(each[:8])}{' and others' if len(each) > 8 else ''}."
    unknown = sum(row[-1] is None for row in rows[1:])
    if unknown:
        text += f" It cannot be told on {unknown} of {len(rows) - 1} slices."
    return text


def _expected(policy: Policy, rule: DecisionRule, wrong: np.ndarray, cost: np.ndarray) -> str:
    """What the policy file expects so many queries to show, beside what they show."""
    found = predict(policy, rule, len(wrong))
    if not found:
        return ""

    def ends(of: Prediction, show_as: Any) -> str:
        return f"{show_as(float(of.low[0]))} to {show_as(float(of.high[0]))}"

    text = f" The policy file expects so many to show an error of {ends(found['error'], share)} ({CI_PROB:.0%})"
    if not np.isfinite(cost).any():
        return text + "."
    spent = per_thousand(float(np.nanmean(cost)))
    text += f", and a cost of {ends(found['cost'], per_thousand)} per 1,000 queries; they cost {spent}"
    return f"{text}, by the mean cost of each stage."
