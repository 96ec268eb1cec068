"""Are the signals as the model says: margins, links, and nothing but links?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from bayescascade._checks.evidence import (
    Evidence,
    centre_range,
    given_neighbour,
    pit,
    randomise,
    replicate_next,
    tail_area,
    two_sided,
)
from bayescascade._checks.results import LEVEL, CheckResult, rejected
from bayescascade.draws import Draws

_TAIL = 0.1
_LEAST = 10  # pairs below which a rank correlation says nothing
_BAND_SIMULATIONS = 1000
# The band closes at the ends, where F is off by a little within the outermost segments of a long log. Less than
# this share of the queries beyond the band moves no reach that anyone would notice.
_MATERIAL = 0.01


def stage_pit(evidence: Evidence, stage: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Posterior mean of the randomised PIT of a stage's signals (query,), and what they are conditional on.

    Where a stage ran for only part of the queries its signals are a selection and their plain PIT is not
    uniform; the PIT given the previous stage's signal is.
    """
    draws, seen = evidence.few, np.isfinite(evidence.signal)
    if stage == 0 or seen[:, stage].sum() == len(seen):
        rows = evidence.rows(rng, stage)
        low, high = pit(draws, stage, evidence.signal[rows, stage])
        given = ""
    else:
        rows = evidence.rows(rng, stage - 1, stage)
        before = pit(draws, stage - 1, evidence.signal[rows, stage - 1])
        here = pit(draws, stage, evidence.signal[rows, stage])
        low, high = (given_neighbour(draws, stage - 1, *before, level) for level in here)
        given = evidence.stages[stage - 1]
    place = rng.uniform(size=len(rows))  # the same for every draw, so that the mean stays uniform
    return (low + place * (high - low)).mean(axis=0), given


def pit_band(values: np.ndarray, ci_prob: float, seed: int) -> tuple[np.ndarray, ...]:
    """ArviZ's simultaneous band: levels, ECDF of the values, lower and upper end."""
    from arviz_stats.ecdf_utils import ecdf_pit

    return ecdf_pit(values, ci_prob, _BAND_SIMULATIONS, rng=np.random.default_rng(seed))


def check_margins(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Is the probability integral transform of each stage's signals uniform?"""
    rows = []
    for j, name in enumerate(evidence.stages):
        values, given = stage_pit(evidence, j, rng)
        if len(values) < _LEAST:
            rows.append((name, len(values), given, np.nan, np.nan, ""))
            continue
        level, ecdf, low, high = pit_band(values, 1.0 - LEVEL / len(evidence.stages), seed=0)
        beyond = float(np.max(np.maximum(ecdf - high, low - ecdf)))
        verdict = "no" if beyond > _MATERIAL else "yes"
        rows.append((name, len(values), given, float(np.abs(ecdf - level).max()), max(beyond, 0.0), verdict))
    columns = ["stage", "queries", "given", "largest_gap", "beyond_band", "inside"]
    table = pd.DataFrame(rows, columns=columns).set_index("stage")
    failed = [name for name, inside in table["inside"].items() if inside == "no"]
    if not table["inside"].any():
        text = f"No stage has {_LEAST} queries, too few to judge a margin. Log more queries."
        return CheckResult("margins", None, table, text)
    if failed:
        text = (
            f"The signals of {_listed(failed)} leave the {1 - LEVEL:.0%} band around the fitted "
            f"distribution by more than {_MATERIAL:.0%} of the queries. F is flexible, so this is a gross "
            "failure: look at plot_margins, and at the log for mixed sources or a wrong confidence kind."
        )
    else:
        text = (
            f"The signals of every stage stay within {_MATERIAL:.0%} of the queries of the {1 - LEVEL:.0%} band "
            "around the fitted distribution. F is flexible and was fitted to them, so only gross failures "
            "would show here."
        )
    return CheckResult("margins", not failed, table, text)


def check_links(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Kendall's tau-b and joint tails of each link, observed and replicated."""
    rows = []
    for link, name in enumerate(evidence.links):
        pairs = evidence.rows(rng, link, link + 1)
        if len(pairs) < _LEAST:
            continue
        x, y = evidence.signal[pairs, link], evidence.signal[pairs, link + 1]
        replicated = replicate_next(evidence.few, link, x, rng)
        taus = np.array([_tau(x, z) for z in replicated])
        rows.append((name, "tau", len(pairs), _tau(x, y), *centre_range(taus), two_sided(_tau(x, y), taus)))
        for tail in ("lower", "upper"):
            observed, shares = _joint_tail(evidence.many, link, x, y, tail, rng)
            rows.append(
                (
                    name,
                    f"{tail} tail",
                    len(pairs),
                    observed,
                    *centre_range(shares),
                    tail_area(observed, shares),
                )
            )
    columns = ["link", "statistic", "queries", "observed", "replicated_low", "replicated_high", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index(["link", "statistic"])
    if table["p"].isna().all():
        text = f"No link has {_LEAST} queries that ran both stages and signals that vary."
        return CheckResult("links", None, table, text)
    failed = rejected(table)
    if len(failed):
        text = (
            f"The fit does not replicate the {_listed([f'{what} of {link}' for link, what in failed])}. Reach "
            "and error of thresholds there are less certain than stated: compare with another copula, and "
            "score the thresholds on a test log."
        )
    else:
        text = (
            "Rank correlation and joint tails of every link are as the fit replicates them. "
            "The copula describes how confidences of consecutive stages move together."
        )
    return CheckResult("links", not len(failed), table, text)


def check_markov(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Dependence of stage j on stage j - 2 given stage j - 1."""
    if len(evidence.stages) < 3:
        text = "Two stages have no stage before the previous one, so there is nothing to check."
        return CheckResult("markov", None, pd.DataFrame(), text)
    draws, rows = evidence.few, []
    for j in range(2, len(evidence.stages)):
        queries = evidence.rows(rng, j - 2, j - 1, j)
        if len(queries) < _LEAST:
            continue
        first, middle, last = (pit(draws, i, evidence.signal[queries, i]) for i in (j - 2, j - 1, j))
        earlier = _residual(draws, j - 2, middle, first, rng)
        later = _residual(draws, j - 1, middle, last, rng)
        # given the middle, the later residual is uniform whatever the earlier one: that is the assumption
        observed = float(np.mean([_tau(a, b) for a, b in zip(earlier, later, strict=True)]))
        null = np.array([_tau(a, rng.uniform(size=len(a))) for a in earlier])
        names = f"{evidence.stages[j]} on {evidence.stages[j - 2]} given {evidence.stages[j - 1]}"
        rows.append((names, len(queries), observed, *centre_range(null), two_sided(observed, null)))
    columns = ["stages", "queries", "observed", "replicated_low", "replicated_high", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index("stages")
    if table["p"].isna().all():
        text = f"No three consecutive stages ran together for {_LEAST} queries, so nothing could be compared."
        return CheckResult("markov", None, table, text)
    failed = rejected(table)
    if len(failed):
        worst = table["observed"].abs().idxmax()
        text = (
            f"Confidence still depends on the stage before the previous one: {_listed(failed)} (largest "
            f"partial tau {table.loc[worst, 'observed']:.2f}). Reach of later stages may be off: score the "
            "thresholds on a test log, or leave out a stage."
        )
    else:
        text = (
            "Given the previous stage, no confidence depends on the stage before it more than replicates do. "
            "The chain of links is enough."
        )
    return CheckResult("markov", not len(failed), table, text)


def _residual(
    draws: Draws,
    link: int,
    given: tuple[np.ndarray, np.ndarray],
    here: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Randomised PIT of one side of a link given the other (draw, query)."""
    low, high = (given_neighbour(draws, link, *given, level) for level in here)
    return randomise(low, high, rng)


def _joint_tail(
    draws: Draws, link: int, x: np.ndarray, y: np.ndarray, tail: str, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Share of pairs in which both lie in their own tenth, observed and replicated (draw,).

    Given the earlier signal the later one lies in its tail with a known probability, so that only these
    coin flips are replicated.
    """
    if tail == "upper":
        cut = np.quantile(y, 1.0 - _TAIL, method="lower")
        first, second = x >= np.quantile(x, 1.0 - _TAIL, method="lower"), y >= cut
    else:
        cut = np.quantile(y, _TAIL, method="higher")
        first, second = x <= np.quantile(x, _TAIL, method="higher"), y <= cut
    below, at = pit(draws, link + 1, np.array([cut]))
    given = pit(draws, link, x[first])
    level = np.broadcast_to(below if tail == "upper" else at, given[0].shape)
    p = given_neighbour(draws, link, *given, level)
    p = 1.0 - p if tail == "upper" else p
    counts = np.sum(rng.uniform(size=p.shape) < p, axis=1)
    return float(np.mean(first & second)), counts / len(x)


def _tau(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(x, y).statistic)


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
