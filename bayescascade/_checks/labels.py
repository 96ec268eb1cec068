"""Are the labels as the model says: calibration, own signal only, and error and cost of chosen thresholds?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayescascade._checks.evidence import Evidence, centre_range, pit, two_sided
from bayescascade._checks.results import LEVEL, CheckResult, rejected
from bayescascade.cascade import evaluate, score
from bayescascade.draws import check_thresholds
from bayescascade.errors import CascadeError

_LEAST = 10
_PER_BIN = 25
_MAX_BINS = 10
_DRAWS = 1000  # replicates of a label are cheap


def bin_signals(signal: np.ndarray, atoms: np.ndarray, per_bin: int = _PER_BIN) -> np.ndarray:
    """Number the signals by bins of about equal count; a large atom is a bin of its own (query,)."""
    own = np.array([a for a in atoms if np.sum(signal == a) >= per_bin // 2])
    lumped = np.isin(signal, own)
    free = signal[~lumped]
    n = int(np.clip(len(free) // per_bin, 1, _MAX_BINS))
    inner = np.unique(np.quantile(free, np.arange(1, n) / n)) if len(free) else np.array([])
    # twice the rank leaves odd numbers for the atoms between two bins
    number = 2 * np.searchsorted(np.unique(np.r_[inner, own]), signal, side="right") + lumped
    return np.unique(number, return_inverse=True)[1]


def check_calibration(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Accuracy in bins of the signal, observed and replicated, and a chi-square discrepancy."""
    rows = []
    for j, name in enumerate(evidence.stages):
        queries = evidence.labelled(j)
        if len(queries) < _LEAST:
            rows.append((name, len(queries), 0, np.nan, np.nan, np.nan))
            continue
        signal, y = evidence.signal[queries, j], evidence.correct[queries, j]
        margin, draws = evidence.many.margins[j], evidence.many.thin(_DRAWS)
        number = bin_signals(signal, margin.low[margin.is_atom])
        member = np.eye(number.max() + 1)[number]  # (query, bin)
        p = draws.p_correct(j, signal)  # (draw, query)
        new = (rng.uniform(size=p.shape) < p).astype(float)
        expected, variance = p @ member, np.maximum((p * (1.0 - p)) @ member, 1e-9)
        observed, replicated = y @ member, new @ member
        low, high = np.quantile(replicated, [LEVEL / 2, 1.0 - LEVEL / 2], axis=0)
        inside = np.mean((observed >= low) & (observed <= high))
        discrepancy = [np.sum((count - expected) ** 2 / variance, axis=1) for count in (observed, replicated)]
        p_value = float(np.mean(discrepancy[1] >= discrepancy[0]))
        gap = np.max(np.abs(observed - expected.mean(axis=0)) / member.sum(axis=0))
        rows.append((name, len(queries), member.shape[1], inside, gap, p_value))
    columns = ["stage", "labels", "bins", "share_inside", "largest_gap", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index("stage")
    if table["p"].isna().all():
        text = f"No stage has {_LEAST} labelled answers, too few to judge calibration. Label more queries."
        return CheckResult("calibration", None, table, text)
    failed = rejected(table)
    if len(failed):
        text = (
            f"Observed accuracy of {', '.join(failed)} departs from the calibration curve by up to "
            f"{table.loc[failed, 'largest_gap'].max():.0%} in a bin. Error of thresholds there is biased: look "
            "at plot_reliability, and score the thresholds on a test log."
        )
    else:
        tested = table.dropna(subset="p")
        share = np.average(tested["share_inside"], weights=tested["bins"])
        text = (
            f"{share:.0%} of the bins of confidence show an accuracy inside the {1 - LEVEL:.0%} predictive "
            "band, and no stage departs from its calibration curve. P(correct) can be believed."
        )
    return CheckResult("calibration", not len(failed), table, text)


def check_own_signal(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Does the previous stage's signal say more about correctness than the own signal does?"""
    rows = []
    for j in range(1, len(evidence.stages)):
        queries = evidence.labelled(j)
        queries = queries[np.isfinite(evidence.signal[queries, j - 1])]
        y = evidence.correct[queries, j]
        if len(queries) < _LEAST or y.min() == y.max():
            continue
        p = evidence.few.p_correct(j, evidence.signal[queries, j])  # (draw, query)
        extra = _unexplained(evidence, j, queries, p.mean(axis=0))
        if extra is None:
            continue
        scale = np.sqrt(np.sum(p.mean(axis=0) * (1 - p.mean(axis=0)) * extra**2))
        observed = float(np.mean((y - p) @ extra) / scale)
        replicated = ((rng.uniform(size=p.shape) < p) - p) @ extra / scale
        rows.append(
            (
                evidence.stages[j],
                len(queries),
                observed,
                *centre_range(replicated),
                two_sided(observed, replicated),
            )
        )
    columns = ["stage", "labels", "observed", "replicated_low", "replicated_high", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index("stage")
    if table["p"].isna().all():
        text = f"No stage has {_LEAST} labels, right and wrong, beside a previous signal that varies."
        return CheckResult("own signal", None, table, text)
    failed = rejected(table)
    if len(failed):
        text = (
            f"Correctness at {', '.join(failed)} depends on the previous stage's confidence beyond its own "
            f"(score {table.loc[failed, 'observed'].abs().max():.1f}, replicates stay near 2). Accuracy after a "
            "deferral is then not what the calibration says: score the thresholds on a test log."
        )
    else:
        text = (
            "Given a stage's own confidence, the previous stage's confidence says no more about correctness "
            "than in replicates. Calibration on the own signal is enough."
        )
    return CheckResult("own signal", not len(failed), table, text)


def _unexplained(evidence: Evidence, j: int, queries: np.ndarray, p: np.ndarray) -> np.ndarray | None:
    """The previous stage's normal score, less what the own signal explains of it (query,).

    Without that the score test would lose the part that the fitted intercept and slope have taken up already.
    """
    from scipy.special import ndtri

    low, high = pit(evidence.few, j - 1, evidence.signal[queries, j - 1])
    before = ndtri(np.clip(0.5 * (low + high).mean(axis=0), 1e-3, 1.0 - 1e-3))
    scaling, signal = evidence.few.scalings[j], evidence.signal[queries, j]
    own = np.column_stack([np.ones(len(queries)), scaling.standardise(signal), scaling.at_ends(signal)])
    weight = np.sqrt(p * (1.0 - p))
    fitted = own @ np.linalg.lstsq(own * weight[:, None], before * weight, rcond=None)[0]
    extra = before - fitted
    return extra if np.std(extra) > 1e-9 else None


def check_cascade(evidence: Evidence, thresholds: object, rng: np.random.Generator) -> CheckResult:
    """Error and cost of thresholds: what the model predicts for this log, and what the log shows."""
    if thresholds is None:
        text = "No thresholds were given. Call check(fit, thresholds=solution.thresholds) to compare."
        return CheckResult("cascade", None, pd.DataFrame(), text)
    array = check_thresholds(thresholds, evidence.stages, str(evidence.log.attrs["confidence_kind"]))
    try:
        found = score(evidence.log, array)
    except CascadeError as error:
        return CheckResult("cascade", None, pd.DataFrame(), f"The fit's own log cannot be scored: {error}")
    predicted = evaluate(evidence.fit, array).stack(sample=("chain", "draw")).transpose("sample", ...)
    n = evidence.log.sizes["query"]
    rows = []
    for point in range(len(array)):
        wrong, cost = (predicted[name].isel(point=point).values for name in ("error", "cost"))
        # what a batch of n queries shows scatters about the long-run rate
        wrong = rng.binomial(n, np.clip(wrong, 0.0, 1.0)) / n
        cost = cost + rng.normal(size=len(cost)) * _cost_spread(evidence, array[point]) / np.sqrt(n)
        for name, draws in (("error", wrong), ("cost", cost)):
            value = float(found[name].isel(point=point))
            low, high = np.quantile(draws, [LEVEL / 2, 1.0 - LEVEL / 2])
            # a cost that is known exactly has an interval of no width
            slack = 1e-9 * abs(value)
            inside = bool(low - slack <= value <= high + slack)
            rows.append((point, name, draws.mean(), low, high, value, inside))
    columns = ["point", "quantity", "predicted", "predicted_low", "predicted_high", "observed", "inside"]
    table = pd.DataFrame(rows, columns=columns).set_index(["point", "quantity"])
    if table["inside"].all():
        text = (
            f"Error and cost on the fit's own log lie inside the {1 - LEVEL:.0%} predictive interval. The fit "
            "has seen this log, so score a test log too."
        )
    else:
        missed = table[~table["inside"]].iloc[0]
        _, name = table.index[~table["inside"]][0]
        text = (
            f"The {name} on the fit's own log is {missed['observed']:.3g}, outside the {1 - LEVEL:.0%} "
            f"predictive interval {missed['predicted_low']:.3g} to {missed['predicted_high']:.3g}. The model "
            "misstates these thresholds: see which other check fails, and score a test log before use."
        )
    return CheckResult("cascade", bool(table["inside"].all()), table, text)


def _cost_spread(evidence: Evidence, threshold: np.ndarray) -> float:
    """Standard deviation over queries of the mean costs of the stages that run."""
    mean_cost = np.nanmean(evidence.log["cost"].values, axis=0)
    confidence = evidence.log["confidence"].values
    going, cost = np.ones(len(confidence), dtype=bool), np.zeros(len(confidence))
    for j in range(len(threshold)):
        cost += going * mean_cost[j]
        going &= confidence[:, j] < threshold[j]
    return float(np.std(cost))
