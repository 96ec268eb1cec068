"""Are the signals of each stage spread as the model says?"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from arviz_stats.ecdf_utils import ecdf_pit

from bayescascade._common.messages import joined
from bayescascade.checks.evidence import LEAST, Evidence
from bayescascade.checks.given import given_earlier
from bayescascade.checks.results import CheckResult, verdict
from bayescascade.display import checks as pictures
from bayescascade.display.format import LEVEL
from bayescascade.errors import in_python, said

_BAND_SIMULATIONS = 1000
# The band closes at the ends, where F is off by a little within the outermost segments of a long log. Less than
# this share of the queries beyond the band moves no reach that anyone would notice.
_MATERIAL = 0.01


class StagePit(NamedTuple):
    """Randomised PIT of a stage's signals (query,), and what they are conditional on, if anything."""

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


def stage_pit(evidence: Evidence, stage: int, rng: np.random.Generator) -> StagePit:
    """Posterior mean of the randomised PIT of a stage's signals.

    Where a stage ran for only part of the queries its signals are a selection and their plain PIT is not
    uniform; the PIT given the signals of the stages before is.
    """
    draws, seen = evidence.few, np.isfinite(evidence.signal)
    if stage == 0 or seen[:, stage].sum() == len(seen):
        rows = evidence.rows(rng, stage)
        low, high = draws.cdf(stage, evidence.signal[rows, stage])
        given = ""
    else:
        rows = evidence.rows(rng, stage - 1, stage)
        earlier = given_earlier(draws, evidence.signal[rows, :stage])
        low, high = (earlier.cdf(level) for level in draws.cdf(stage, evidence.signal[rows, stage]))
        given = evidence.stages[stage - 1] if draws.loading is None else "earlier stages"
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
        inside = "no" if beyond > _MATERIAL else "yes"
        rows.append((name, len(values), given, float(np.abs(ecdf - level).max()), max(beyond, 0.0), inside))
    columns = ["stage", "queries", "given", "largest_gap", "beyond_band", "inside"]
    table = pd.DataFrame(rows, columns=columns).set_index("stage")
    failed, seen, unseen = (
        [name for name, inside in table["inside"].items() if inside == word] for word in ("no", "yes", "")
    )
    varies = np.array([len(np.unique(signal[np.isfinite(signal)])) > 1 for signal in evidence.signal.T])
    if not (table["inside"].ne("").to_numpy() & varies).any():
        text = f"No stage has {LEAST} queries and a confidence that varies: there is no distribution to judge."
        return CheckResult("margins", None, table, text)
    if failed:
        text = said(
            "The confidences of {} leave the {:.0%} band around the fitted distribution by more than {:.0%} of "
            "the queries. The model is flexible, so this is a large misfit: look at {}the log for mixed sources "
            "or a wrong confidence kind.",
            (joined(failed), 1 - LEVEL, _MATERIAL, in_python("plot_margins, and at ")),
        )
    else:
        who = joined(seen) if unseen else "every stage"
        text = (
            f"The fitted confidence distributions of {who} match the data; the model is flexible, so this test "
            "only catches large misfits."
        )
    if unseen:
        text += f" Not tested: {joined(unseen)}; run at least {LEAST} queries there."
    return CheckResult("margins", verdict(failed, unseen), table, text, partial(pictures.margins, pits))
