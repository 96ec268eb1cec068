"""Do consecutive signals move together as the fitted copula says: rank correlation, tails, the family itself?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayescascade._common.messages import joined
from bayescascade.checks.evidence import (
    LEAST,
    Evidence,
    centre_range,
    given_neighbour,
    one_sided,
    randomise,
    replicate_next,
    tail_area,
    two_sided,
)
from bayescascade.checks.results import CheckResult, rejected
from bayescascade.display import checks as pictures
from bayescascade.errors import option, said
from bayescascade.model.copulas.family import FAMILIES, Family
from bayescascade.posterior.draws import Draws

_TAIL = 0.1
_CELLS, _FEW = 100, 50  # of the grid and of the draws that show a copula
_MARGIN_OF_TAU = 0.01  # how near to the ends of its range a family's tau may be


class LinkView(NamedTuple):
    """Pseudo-observations of one link and its copula.

    ``points`` (stage, query) are posterior means of F at the signals of the two stages, ``tau`` (draw,) is
    Kendall's, ``density`` is that of `copula_density`: None where stages are independent, whose tau says nothing.
    """

    stages: tuple[str, str]
    points: np.ndarray
    tau: np.ndarray
    density: tuple[np.ndarray, np.ndarray] | None


def link_view(evidence: Evidence, link: int, tau: np.ndarray) -> LinkView:
    """What a link is drawn from, with draws of its tau (draw,); atoms are spread alike each time."""
    rng, draws = np.random.default_rng(0), evidence.few
    rows = evidence.rows(rng, link, link + 1)
    points = []
    for j in (link, link + 1):
        low, high = draws.cdf(j, evidence.signal[rows, j])
        points.append((low + rng.uniform(size=len(rows)) * (high - low)).mean(axis=0))
    # the tau of independence is a free parameter that the data do not touch
    density = copula_density(draws, link) if draws.families[link].name != "independence" else None
    first, second = evidence.stages[link : link + 2]
    return LinkView((first, second), np.array(points), tau, density)


def copula_density(draws: Draws, link: int) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean density of a link's copula in the unit square: middles of cells (cell,), (cell, cell)."""
    middle = (np.arange(_CELLS) + 0.5) / _CELLS
    v, u = np.meshgrid(middle, middle, indexing="ij")
    return middle, draws.thin(_FEW).link(link).pdf(u[None], v[None]).mean(axis=0)


@dataclass(frozen=True)
class _Pairs:
    """Observed signals of a link's two stages (query,) and replicates of the later ones (draw, query)."""

    link: int
    x: np.ndarray
    y: np.ndarray
    new: np.ndarray


def check_links(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Kendall's tau-b, joint tails and the family of each link, observed and replicated."""
    rows, unseen = [], []
    for link, name in enumerate(evidence.links):
        queries = evidence.rows(rng, link, link + 1)
        if len(queries) < LEAST:
            unseen.append(name)
            continue
        x, y = evidence.signal[queries, link], evidence.signal[queries, link + 1]
        pairs = _Pairs(link, x, y, replicate_next(evidence.few, link, x, rng))
        observed, taus = kendall(x, y[None])[0], kendall(x, pairs.new)
        found = [("tau", "", observed, *centre_range(taus), two_sided(observed, taus))]
        for tail in ("lower", "upper"):
            observed, shares = _joint_tail(evidence.many, pairs, tail, rng)
            found.append((f"{tail} tail", "", observed, *centre_range(shares), tail_area(observed, shares)))
        found.append(("family", *_family(evidence, pairs, rng)))
        rows += [(name, what, len(queries), *rest) for what, *rest in found]
    columns = ["link", "statistic", "queries", "rival", "observed", "replicated_low", "replicated_high", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index(["link", "statistic"])
    if table["p"].isna().all():
        text = f"No link has {LEAST} queries that ran both stages and signals that vary."
        return CheckResult("links", None, table, text)
    failed = rejected(table)
    shown = [link_view(evidence, i, evidence.many.tau[:, i]) for i in range(len(evidence.links))]
    picture = partial(pictures.links, shown, table)
    if len(failed):
        rivals = [
            f"{link} looks like {table.loc[(link, what), 'rival']}" for link, what in failed if what == "family"
        ]
        hint = f" By their likelihood {joined(rivals)}." if rivals else ""
        text = said(
            "The fit does not replicate the {}.{} Reach and error of thresholds there are less certain than "
            "stated: fit again with {}, and score the thresholds on a test log.",
            (joined((f"{what} of {link}" for link, what in failed)), hint, option("copula", "auto")),
        )
    else:
        text = (
            "Rank correlation, joint tails and likelihood of every link are as the fit replicates them. "
            "The copula describes how confidences of consecutive stages move together."
        )
    if unseen:
        text += f" Nothing is known of {joined(unseen)}: run both stages on at least {LEAST} queries."
    return CheckResult("links", False if len(failed) else None if unseen else True, table, text, picture)


def kendall(x: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of one sample (query,) with each of many (set, query); SciPy's takes ten times as long."""
    above = x[:, None] > x
    n_above, out = np.count_nonzero(above), np.full(len(sets), np.nan)
    for i, y in enumerate(sets):
        more, less = y[:, None] > y, y[:, None] < y
        agree, differ = np.count_nonzero(above & more), np.count_nonzero(above & less)
        pairs = n_above * np.count_nonzero(more)
        if pairs:
            out[i] = (agree - differ) / np.sqrt(pairs)
    return out


def _joint_tail(draws: Draws, pairs: _Pairs, tail: str, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """Share of pairs in which both lie in their own tenth, observed and replicated (draw,).

    Given the earlier signal the later one lies in its tail with a known probability, so that only these
    coin flips are replicated.
    """
    link, x, y = pairs.link, pairs.x, pairs.y
    if tail == "upper":
        cut = np.quantile(y, 1.0 - _TAIL, method="lower")
        first, second = x >= np.quantile(x, 1.0 - _TAIL, method="lower"), y >= cut
    else:
        cut = np.quantile(y, _TAIL, method="higher")
        first, second = x <= np.quantile(x, _TAIL, method="higher"), y <= cut
    below, at = draws.cdf(link + 1, np.array([cut]))
    given = draws.cdf(link, x[first])
    level = np.broadcast_to(below if tail == "upper" else at, given[0].shape)
    p = given_neighbour(draws, link, *given, level)
    p = 1.0 - p if tail == "upper" else p
    counts = np.sum(rng.uniform(size=p.shape) < p, axis=1)
    return float(np.mean(first & second)), counts / len(x)


def _family(evidence: Evidence, pairs: _Pairs, rng: np.random.Generator) -> tuple[str, float, float, float, float]:
    """Is another family likelier than the fitted one, by more than among replicates of the fitted one?

    Every family is judged at the tau of the data it is judged on, and a replicate deals out the observed later
    signals anew, in the order of the replicated ones: so tau and margins are fitted to replicates as to the data
    (the parametric bootstrap of Cox's test of separate families).

    Returns the likeliest rival, its log-likelihood ratio observed and its central range in replicates, and p,
    which is that of the rival that stands out most.
    """
    link = pairs.link
    own = evidence.few.families[link]
    mean = evidence.few.mean()
    ends = [mean.cdf(link + i, signal) for i, signal in enumerate((pairs.x, pairs.y))]
    u, v = (np.clip(randomise(low[0], high[0], rng), 1e-6, 1.0 - 1e-6) for low, high in ends)
    dealt = np.empty_like(pairs.new)
    for row, z in zip(dealt, pairs.new, strict=True):
        row[np.lexsort((rng.uniform(size=len(z)), z))] = np.sort(v)  # ties in random order
    sets = np.vstack([v, dealt])
    tau = kendall(u, sets)
    if not np.isfinite(tau).all():  # one of the stages never varies
        return "", np.nan, np.nan, np.nan, np.nan
    base = _log_likelihood(own, u, sets, tau)
    rivals = [name for name in FAMILIES if name not in (own.name, "independence")]
    ratio = np.stack([_log_likelihood(FAMILIES[name], u, sets, tau) - base for name in rivals])
    p = [one_sided(row[0], row[1:]) for row in ratio]
    likeliest = int(np.argmax(ratio[:, 0]))
    low, high = centre_range(ratio[likeliest, 1:])
    p_value = min(1.0, _effective_number(ratio[:, 1:]) * min(p))
    return rivals[likeliest], float(ratio[likeliest, 0]), low, high, p_value


def _effective_number(values: np.ndarray) -> float:
    """How many independent tests as many correlated ones (test, replicate) amount to.

    Li & Ji (2005), doi:10.1038/sj.hdy.6800717.
    """
    varying = values[np.std(values, axis=1) > 0]
    eigenvalue = np.abs(np.linalg.eigvalsh(np.atleast_2d(np.corrcoef(varying))))
    return float(np.sum((eigenvalue >= 1.0) + eigenvalue % 1.0))


def _log_likelihood(family: Family, u: np.ndarray, sets: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Log-likelihood of each set of pairs (set,), at the set's own tau."""
    low, high = family.tau_range
    tau = np.clip(tau, low + _MARGIN_OF_TAU, high - _MARGIN_OF_TAU)
    with np.errstate(all="ignore"):
        return family.logpdf(u, sets, tau[:, None]).sum(axis=1)
