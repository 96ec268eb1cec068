"""Error, cost and deferral of blocks of served queries, beside what the policy file expects of so many."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import norm

from bayescascade._common.arrays import safe_divide, tail_probabilities
from bayescascade.cascade.predictive import beta_binomial_ends, predict
from bayescascade.cascade.reference import to_finite
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.format import CI_PROB
from bayescascade.monitoring.parts import Served
from bayescascade.runtime.policy import Policy

AMOUNTS = ("error", "cost", "deferral")


def shares_over_time(served: Served, policy: Policy, n_blocks: int) -> pd.DataFrame:
    """A row for each block of queries in order, NaN where something is not known.

    ``query``, the number of its last one; ``n`` queries, ``labels``; ``error``, ``cost`` and ``deferral``, the
    share that the first stage defers; and of each what is ``_expected``, and between what (``_low``, ``_high``)
    90% of blocks of this size should be.
    """
    rule = DecisionRule.from_any(policy, policy.stages, policy.confidence_kind)
    route = rule.apply(served.confidence)
    reach, accepted = route.reach[0].T & np.isfinite(to_finite(served.confidence)), route.accepted[0].T
    graded = accepted & np.isfinite(served.correct)
    wrong = graded & (served.correct < 0.5)
    spent = np.where(route.reach[0].T, served.cost, 0.0).sum(axis=1)
    rows = []
    for start, stop in pairwise(np.linspace(0, len(reach), n_blocks + 1).astype(int)):
        block = slice(start, stop)
        paid, labels, asked = spent[block][np.isfinite(spent[block])], graded[block].sum(), reach[block, 0].sum()
        on = reach[block, 1].sum() if reach.shape[1] > 1 else 0
        row = {
            "query": float(stop),
            "n": float(stop - start),
            "labels": float(labels),
            "error": float(safe_divide(wrong[block].sum(), labels, np.nan)),
            "cost": float(paid.mean()) if len(paid) else float("nan"),
            "deferral": float(safe_divide(on, asked, np.nan)),
        }
        of_n = {"error": int(labels), "cost": len(paid), "deferral": int(asked)}
        rows.append(
            row | {key: x for name in AMOUNTS for key, x in _expected(policy, rule, name, of_n[name]).items()}
        )
    return pd.DataFrame(rows)


def _expected(policy: Policy, rule: DecisionRule, name: str, n: int) -> dict[str, float]:
    values = [float("nan")] * 3
    if n and name != "deferral" and (found := predict(policy, rule, n)):
        values = [float(x[0]) for x in found[name]]
    elif n and name == "deferral" and (of := _deferral(policy)):
        # the file gives the ends of the posterior's interval; its sd is that of a normal one as wide
        low, high = norm.ppf(tail_probabilities(CI_PROB))
        values = [of[0], *beta_binomial_ends(of[0], (of[2] - of[1]) / float(high - low), n, CI_PROB)]
    return {f"{name}_{part}": x for part, x in zip(("expected", "low", "high"), values, strict=True)}


def _deferral(policy: Policy) -> tuple[float, float, float] | None:
    """What the manifest expects the first stage to defer, with the ends of its interval, if it says so."""
    try:
        of = (policy.manifest or {})["expected"]["deferral"][policy.stages[0]]
        mean, low, high = (float(of[name]) for name in ("mean", "low", "high"))
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    return (mean, low, high) if 0.0 <= low <= high <= 1.0 and 0.0 <= mean <= 1.0 else None
