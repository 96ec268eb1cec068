"""Are the signals as the model says: each stage's distribution, and no memory beyond the previous stage?"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from arviz_stats.ecdf_utils import ecdf_pit

from bayescascade._common.messages import joined
from bayescascade.checks.evidence import LEAST, Evidence, centre_range, given_neighbour, randomise, two_sided
from bayescascade.checks.results import CheckResult, rejected
from bayescascade.display import checks as pictures
from bayescascade.display.format import LEVEL
from bayescascade.errors import in_python, said
from bayescascade.posterior.draws import Draws

_BAND_SIMULATIONS = 1000
_STRATUM = 40  # queries whose middle signals are near enough to count as one
# The band closes at the ends, where F is off by a little within the outermost segments of a long log. Less than
# this share of the queries beyond the band moves no reach that anyone would notice.
_MATERIAL = 0.01


class StagePit(NamedTuple):
    """Randomised PIT of a stage's signals (query,), and the stage that they are conditional on, if any."""

    stage: str
    values: np.ndarray
    given: str


class PitEcdf(NamedTuple):
    """ECDF of a stage's PIT with its simultaneous band (level,); no level where it has fewer than two queries."""

    stage: str
    given: str
    level: np.ndarray
    ecdf: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Residuals(NamedTuple):
    """What is left of two stages given the one between them, by one draw: ``earlier``, ``later`` (query,)."""

    stages: tuple[str, str, str]
    earlier: np.ndarray
    later: np.ndarray


def stage_pit(evidence: Evidence, stage: int, rng: np.random.Generator) -> StagePit:
    """Posterior mean of the randomised PIT of a stage's signals.

    Where a stage ran for only part of the queries its signals are a selection and their plain PIT is not
    uniform; the PIT given the previous stage's signal is.
    """
    draws, seen = evidence.few, np.isfinite(evidence.signal)
    if stage == 0 or seen[:, stage].sum() == len(seen):
        rows = evidence.rows(rng, stage)
        low, high = draws.cdf(stage, evidence.signal[rows, stage])
        given = ""
    else:
        rows = evidence.rows(rng, stage - 1, stage)
        before = draws.cdf(stage - 1, evidence.signal[rows, stage - 1])
        here = draws.cdf(stage, evidence.signal[rows, stage])
        low, high = (given_neighbour(draws, stage - 1, *before, level) for level in here)
        given = evidence.stages[stage - 1]
    place = rng.uniform(size=len(rows))  # the same for every draw, so that the mean stays uniform
    return StagePit(evidence.stages[stage], (low + place * (high - low)).mean(axis=0), given)


def pit_ecdf(evidence: Evidence, stage: int, ci_prob: float) -> PitEcdf:
    """What the margin of a stage is drawn from; atoms are spread alike each time."""
    name, values, given = stage_pit(evidence, stage, np.random.default_rng(0))
    band = pit_band(values, ci_prob, seed=0) if len(values) > 1 else (np.array([]),) * 4
    return PitEcdf(name, given, *band)


def pit_band(values: np.ndarray, ci_prob: float, seed: int) -> tuple[np.ndarray, ...]:
    """ArviZ's simultaneous band: levels, ECDF of the values, lower and upper end."""
    level, low, high = _band(len(values), ci_prob, seed)
    return level, np.searchsorted(np.sort(values), level, side="right") / len(values), low, high


@lru_cache(maxsize=64)
def _band(n: int, ci_prob: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels and ends of the band, which depend on the number of values only."""
    any_values = np.linspace(0.0, 1.0, n)
    level, _, low, high = ecdf_pit(any_values, ci_prob, _BAND_SIMULATIONS, rng=np.random.default_rng(seed))
    return level, low, high


def check_margins(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Is the probability integral transform of each stage's signals uniform?"""
    rows = []
    pits = [stage_pit(evidence, j, rng) for j in range(len(evidence.stages))]
    for name, values, given in pits:
        if len(values) < LEAST:
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
        text = f"No stage has {LEAST} queries, too few to judge a margin. Log more queries."
        return CheckResult("margins", None, table, text)
    if failed:
        text = said(
            "The signals of {} leave the {:.0%} band around the fitted distribution by more than {:.0%} of the "
            "queries. F is flexible, so this is a gross failure: look at {}the log for mixed sources or a wrong "
            "confidence kind.",
            (joined(failed), 1 - LEVEL, _MATERIAL, in_python("plot_margins, and at ")),
        )
    else:
        text = (
            f"The signals of every stage stay within {_MATERIAL:.0%} of the queries of the {1 - LEVEL:.0%} band "
            "around the fitted distribution. F is flexible and was fitted to them, so only gross failures "
            "would show here."
        )
    return CheckResult("margins", not failed, table, text, partial(pictures.margins, pits))


def check_markov(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Dependence of stage j on stage j - 2 given stage j - 1."""
    if len(evidence.stages) < 3:
        text = "Two stages have no stage before the previous one, so there is nothing to check."
        return CheckResult("markov", None, pd.DataFrame(), text)
    rows, shown = [], []
    for j in range(2, len(evidence.stages)):
        queries = evidence.rows(rng, j - 2, j - 1, j)
        if len(queries) < LEAST:
            continue
        earlier, later = residuals(evidence, j, queries, rng)
        strata = _strata(evidence.signal[queries, j - 1], rng)
        observed = float(np.mean(partial_tau(earlier, later, strata)))
        # given the middle, the later residual is uniform whatever the earlier one: that is the assumption
        null = partial_tau(earlier, rng.uniform(size=later.shape), strata)
        first, middle, last = evidence.stages[j - 2 : j + 1]
        asked = f"{last} on {first} given {middle}"
        rows.append((asked, len(queries), observed, *centre_range(null), two_sided(observed, null)))
        shown.append(Residuals((first, middle, last), earlier[0].copy(), later[0].copy()))
    columns = ["stages", "queries", "observed", "replicated_low", "replicated_high", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index("stages")
    if table["p"].isna().all():
        text = f"No three consecutive stages ran together for {LEAST} queries, so nothing could be compared."
        return CheckResult("markov", None, table, text)
    failed = rejected(table)
    if len(failed):
        worst = table["observed"].abs().idxmax()
        text = (
            f"Confidence still depends on the stage before the previous one: {joined(failed)} (largest "
            f"partial tau {table.loc[worst, 'observed']:.2f}). Reach of later stages may be off: score the "
            "thresholds on a test log, or leave out a stage."
        )
    else:
        text = (
            "Given the previous stage, no confidence depends on the stage before it more than replicates do. "
            "The chain of links is enough."
        )
    return CheckResult("markov", not len(failed), table, text, partial(pictures.markov, shown, table))


def residuals(
    evidence: Evidence, j: int, queries: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What is left of stages ``j - 2`` and ``j`` given ``j - 1``: uniform each (draw, query)."""
    draws = evidence.few
    first, middle, last = (draws.cdf(i, evidence.signal[queries, i]) for i in (j - 2, j - 1, j))
    return _residual(draws, j - 2, middle, first, rng), _residual(draws, j - 1, middle, last, rng)


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


def _strata(middle: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Queries in groups of about equal middle signal.

    Only queries of one group are compared: a link of the wrong family leaves both residuals dependent on the
    middle signal, and thereby on each other, which is not what this check is about.
    """
    order = np.lexsort((rng.uniform(size=len(middle)), middle))
    return np.array_split(order, max(1, len(middle) // _STRATUM))


def partial_tau(x: np.ndarray, y: np.ndarray, strata: list[np.ndarray]) -> np.ndarray:
    """Kendall's tau of pairs of queries within strata (draw,), of values without ties (draw, query)."""
    concordance, pairs = np.zeros(len(x)), 0
    for rows in strata:
        a, b = np.triu_indices(len(rows), 1)
        a, b = rows[a], rows[b]
        concordance += np.sum(np.where((x[:, a] < x[:, b]) == (y[:, a] < y[:, b]), 1.0, -1.0), axis=1)
        pairs += len(a)
    return concordance / max(pairs, 1)
