"""Which of several confidences tells right answers from wrong ones best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.arrays import safe_divide, tail_probabilities
from bayescascade._common.messages import listed
from bayescascade._common.validation import check_prob
from bayescascade.errors import CascadeError
from bayescascade.logs.importers.candidates import CANDIDATE

_DRAWS = 1000
_BLOCK = 2_000_000  # weights held at a time
_FACTS = ("query", "stage", "model", "task", "correct", "cost", "latency", "latency_ms")


def signal_quality(
    candidates: xr.Dataset | pd.DataFrame,
    signals: Iterable[str] | None = None,
    *,
    ci_prob: float = 0.9,
    random_seed: int | None = 0,
) -> pd.DataFrame:
    """How well each of several confidences tells right answers from wrong ones, at each stage.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayescascade.analysis.signal_quality import signal_quality
    >>> table = pd.DataFrame(
    ...     {
    ...         "stage": "small",
    ...         "mean_logprob": [-0.1, -0.2, -0.4, -0.9],
    ...         "verbalised": [90.0, 95.0, 90.0, 90.0],
    ...         "correct": [1, 1, 0, 0],
    ...     }
    ... )
    >>> signal_quality(table)["auroc"].to_dict()
    {('small', 'mean_logprob'): 1.0, ('small', 'verbalised'): 0.75}

    Parameters
    ----------
    candidates : Dataset or DataFrame
        A log whose variable ``candidate`` over (query, stage, signal) holds several confidences of each answer;
        without it, the log's ``confidence`` alone is judged. Or a table with a column for each confidence, a
        column ``correct`` (0, 1, or empty) and, where there are several stages, ``stage`` (or ``model``). Higher
        is surer.
    signals : iterable of str, optional
        Names of those to be judged; by default all, of a table every column of numbers that is no other part of a
        log.
    ci_prob : float
        Probability of the intervals.
    random_seed : int, optional
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row for each stage and signal, the best of a stage first.

        * ``n``: labelled answers; ``seen``: share of them that have this confidence. An answer without it counts
          as less sure than all that have it, because a cascade would defer it. So all signals are judged on the
          same answers.
        * ``auroc``: probability that a right answer has a higher confidence than a wrong one; ties count half. 0.5
          says nothing, 1 is perfect. NaN where all answers are right, or all wrong.
        * ``auarc``: mean accuracy of the surest share of the answers, over all shares. A signal that says nothing
          gives the ``accuracy`` of all answers.
        * ``auroc_low``, ``auroc_high`` and so on: the interval.
        * ``best``: probability that no other signal of the stage has a higher ``auroc``.

    Raises
    ------
    CascadeError
        If there is no label, or no confidence of a name.

    Notes
    -----
    Intervals come from the Bayesian bootstrap: 1,000 draws of weights of the answers, the same ones for all
    signals of a stage (Rubin 1981, doi:10.1214/aos/1176345338). AUARC: Nadeem, Zucker & Hanczar (2009),
    proceedings.mlr.press/v8/nadeem10a.html, in the limit of many thresholds.
    """
    check_prob("ci_prob", ci_prob)
    names = None if signals is None else list(signals)
    rng = np.random.default_rng(random_seed)
    stages = _stages(candidates, names)
    table = pd.concat([_judged(stage, values, correct, ci_prob, rng) for stage, values, correct in stages])
    table.attrs["ci_prob"] = ci_prob
    return table


# ---- what came


def _stages(candidates: Any, names: list[str] | None) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    """Name of each stage, its confidences (answer, signal), and its labels (answer,)."""
    if isinstance(candidates, xr.Dataset):
        parts = _of_log(candidates)
    elif isinstance(candidates, pd.DataFrame):
        parts = _of_table(candidates, names)
    else:
        raise CascadeError(
            f"signals are judged from a log or a DataFrame, not from a {type(candidates).__name__}; "
            "give one that holds them beside the labels"
        )
    for stage, values, correct in parts:
        for name in names or ():
            if name not in values:
                raise CascadeError(f"there is no signal {name!r}; there are {listed(values)}")
        kept = np.isfinite(correct)
        if not kept.any():
            raise CascadeError(
                f"stage {stage!r} has no labelled answer, so nothing tells its signals apart; label some"
            )
        yield stage, values.loc[kept, names or list(values)], correct[kept]


def _of_log(log: xr.Dataset) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    held = CANDIDATE in log
    values = log[CANDIDATE] if held else log["confidence"].expand_dims(signal=[log.attrs["confidence_kind"]])
    values = values.transpose("stage", "query", "signal")
    names = [str(name) for name in values["signal"].values]
    correct = log["correct"].transpose("stage", "query").values.astype(float)
    for stage, name in enumerate(log["stage"].values):
        yield str(name), pd.DataFrame(values.values[stage], columns=names), correct[stage]


def _of_table(table: pd.DataFrame, names: list[str] | None) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    if "correct" not in table:
        raise CascadeError(
            f"the table has no column 'correct'; it has {listed(table.columns)}; name the one with 1 and 0 so"
        )
    numeric = [name for name in table.select_dtypes("number") if name not in _FACTS]
    chosen = [name for name in names or numeric if name in table]
    if not chosen:
        raise CascadeError(
            f"the table has no column with a confidence; it has {listed(table.columns)}; add one of numbers"
        )
    by = next((name for name in ("stage", "model") if name in table), None)
    parts = [("all answers", table)] if by is None else table.groupby(by, sort=False)
    for stage, part in parts:
        correct = part["correct"].astype(float).to_numpy()
        if not np.isin(correct[np.isfinite(correct)], (0.0, 1.0)).all():
            raise CascadeError("a label in 'correct' should be 0 or 1, or empty if unknown")
        yield str(stage), part[chosen].astype(float).reset_index(drop=True), correct


# ---- what it says


def _judged(
    stage: str, values: pd.DataFrame, correct: np.ndarray, ci_prob: float, rng: np.random.Generator
) -> pd.DataFrame:
    """The rows of one stage."""
    orders = [_order(values[name].to_numpy()) for name in values]
    even = np.ones((1, len(correct)))
    found = np.array([[*_areas(*order, correct, even)] for order in orders])[..., 0]  # (signal, area)
    seeds = rng.integers(2**63)
    drawn = np.array([_bootstrap(order, correct, int(seeds)) for order in orders])  # (signal, area, draw)
    low, high = np.quantile(drawn, tail_probabilities(ci_prob), axis=-1)
    table = pd.DataFrame({"n": len(correct), "seen": values.notna().mean(), "accuracy": correct.mean()})
    for area, name in enumerate(("auroc", "auarc")):
        table[name], table[f"{name}_low"], table[f"{name}_high"] = found[:, area], low[:, area], high[:, area]
    leads = drawn[:, 0] >= drawn[:, 0].max(axis=0) - 1e-12
    table["best"] = (leads / np.maximum(leads.sum(axis=0), 1)).mean(axis=1)
    table.index = pd.MultiIndex.from_product([[stage], values.columns], names=["stage", "signal"])
    return table.sort_values(["auroc", "auarc"], ascending=False, kind="stable")


def _order(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers from the surest to the least sure, and where in this order each run of equal confidences starts."""
    confidence = np.where(np.isnan(confidence), -np.inf, confidence)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    return order, np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))


def _bootstrap(order: tuple[np.ndarray, np.ndarray], correct: np.ndarray, seed: int) -> np.ndarray:
    """Both areas under random weights of the answers (area, draw); one seed gives each signal the same weights."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(correct))
    sizes = [min(block, _DRAWS - done) for done in range(0, _DRAWS, block)]
    return np.concatenate(
        [_areas(*order, correct, rng.standard_exponential((size, len(correct)))) for size in sizes], axis=1
    )


def _areas(order: np.ndarray, starts: np.ndarray, correct: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """AUROC and AUARC of weighted answers (2, draw); ``weight`` over (draw, answer)."""
    weight = weight[:, order] / weight.sum(axis=1, keepdims=True)
    right = np.add.reduceat(weight * correct[order], starts, axis=1)  # (draw, run of equal confidences)
    mass = np.add.reduceat(weight, starts, axis=1)
    wrong = mass - right
    all_right, all_wrong = right.sum(axis=1), wrong.sum(axis=1)
    below = all_wrong[:, None] - np.cumsum(wrong, axis=1)
    auroc = safe_divide((right * (below + 0.5 * wrong)).sum(axis=1), all_right * all_wrong, np.nan)
    # with the surest share t kept, C(t) of it right, and C linear within a run, this is the integral of C(t) / t
    end = np.cumsum(mass, axis=1)
    start = end - mass
    rate = right / mass
    ahead = np.cumsum(right, axis=1) - right - rate * start
    log_ratio = np.log(end[:, 1:] / start[:, 1:])  # nothing is ahead of the first run
    auarc = (rate * mass).sum(axis=1) + (ahead[:, 1:] * log_ratio).sum(axis=1)
    return np.stack([auroc, auarc])
