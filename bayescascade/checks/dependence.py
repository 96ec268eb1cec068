"""Do signals of the same query move together as the fit says: rank correlation, tails, the family of a link?"""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import bdtr, bdtrc

from bayescascade._common.messages import joined, sentence
from bayescascade.checks.evidence import LEAST, Evidence, centre_range, one_sided, two_sided
from bayescascade.checks.given import given_earlier, randomise
from bayescascade.checks.results import CheckResult, rejected, verdict
from bayescascade.display import checks as pictures
from bayescascade.errors import Message, option, said
from bayescascade.model.copulas.family import FAMILIES, Family
from bayescascade.model.factor import EASE, LOG_WEIGHT, conditional_density, conditional_rank
from bayescascade.posterior.draws import Draws

_TAIL = 0.1
_CELLS, _FEW = 100, 50  # of the grid and of the draws that show a copula
_MARGIN_OF_TAU = 0.01  # how near to the ends of its range a family's tau may be


class PairView(NamedTuple):
    """Pseudo-observations of two stages and, of neighbours, their copula.

    ``points`` (stage, query) are posterior means of F at the signals of the two stages, ``tau`` (draw,) is
    Kendall's of their link, ``density`` is that of `copula_density`: None where there is no link, or one of
    independence, whose tau says nothing. ``given_ease`` says whether tau is that of queries of the same ease.
    """

    stages: tuple[str, str]
    points: np.ndarray
    tau: np.ndarray
    density: tuple[np.ndarray, np.ndarray] | None
    given_ease: bool


def pair_view(evidence: Evidence, first: int, second: int, tau: np.ndarray | None = None) -> PairView:
    """What two stages are drawn from, with draws of their link's tau (draw,); atoms are spread alike each time."""
    rng, draws = np.random.default_rng(0), evidence.few
    rows = evidence.rows(rng, first, second)
    points = []
    for j in (first, second):
        low, high = draws.cdf(j, evidence.signal[rows, j])
        points.append((low + rng.uniform(size=len(rows)) * (high - low)).mean(axis=0))
    latent = draws.loading is not None
    tied = second == first + 1 and (latent or draws.families[first].name != "independence")
    density = copula_density(draws, first) if tied else None
    tau = draws.tau[:, first] if tau is None else tau
    return PairView((evidence.stages[first], evidence.stages[second]), np.array(points), tau, density, latent)


def copula_density(draws: Draws, link: int) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean density of two neighbours' copula: middles of cells (cell,), and (cell, cell)."""
    middle, few = (np.arange(_CELLS) + 0.5) / _CELLS, draws.thin(_FEW)
    if few.loading is None:
        v, u = np.meshgrid(middle, middle, indexing="ij")
        return middle, few.link(link).pdf(u[None], v[None]).mean(axis=0)
    total = np.zeros((_CELLS, _CELLS))
    loading = few.loading[:, :, None]
    for ease, share in zip(EASE, np.exp(LOG_WEIGHT), strict=True):
        # a rank that rounds to 0 or 1 has next to no density of its own, and that of the link is no number there
        u, v = (
            np.clip(conditional_rank(middle, ease, loading[:, j]), 1e-12, 1.0 - 1e-12) for j in (link, link + 1)
        )
        by_u, by_v = (conditional_density(middle, ease, loading[:, j]) for j in (link, link + 1))
        tied = few.link(link).pdf(u[:, None], v[:, :, None])
        total += share * np.mean(tied * by_u[:, None] * by_v[:, :, None], axis=0)
    return middle, total


def check_dependence(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Kendall's tau-b and joint tails of each pair of stages, and the family of each link."""
    rows, unseen = [], []
    for second in range(1, len(evidence.stages)):
        for first, found in _pairs_with(evidence, second, rng).items():
            name = f"{evidence.stages[first]} > {evidence.stages[second]}"
            rows += [(name, *row) for row in found]
            unseen += [] if found or _constant(evidence, first, second) else [name]
    columns = ["pair", "statistic", "queries", "rival", "observed", "replicated_low", "replicated_high", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index(["pair", "statistic"])
    if table["p"].isna().all():
        text = f"No two stages have {LEAST} queries that ran both and confidences that vary."
        return CheckResult("dependence", None, table, text)
    failed = rejected(table)
    shown = [pair_view(evidence, i, j) for i, j in combinations(range(len(evidence.stages)), 2)]
    picture = partial(pictures.dependence, shown, table)
    if len(failed):
        rivals = [
            f"{pair} looks like {table.loc[(pair, what), 'rival']}" for pair, what in failed if what == "family"
        ]
        hint = f" {sentence(joined(rivals))}." if rivals else ""
        text = said(
            "The model does not match the {}.{} Error and cost of thresholds there are less certain than stated: "
            "{}score the thresholds on a test log.",
            (joined((f"{what} of {pair}" for pair, what in failed)), hint, _advice(evidence, failed)),
        )
    else:
        text = "Correlation and tail dependence of the stages' confidences match the model."
    if unseen:
        text += f" Not tested: {joined(unseen)}; run both stages on at least {LEAST} queries."
    return CheckResult("dependence", verdict(failed, unseen), table, text, picture)


def _advice(evidence: Evidence, failed: pd.Index) -> str:
    """What to fit instead: other families where neighbours fail, a difficulty where others do."""
    if evidence.few.loading is not None:
        return ""
    neighbours = all(pair in evidence.links for pair, _ in failed)
    picked = "comparison" in evidence.fit.children  # the families were chosen from all there are
    better = option("copula", "auto") if neighbours and not picked else option("difficulty", True)
    return Message("fit again with ", better, ", and ")


def _pairs_with(evidence: Evidence, second: int, rng: np.random.Generator) -> dict[int, list[tuple[object, ...]]]:
    """Rows of the table for each earlier stage beside ``second``; none where too few queries ran both."""
    draws = evidence.few
    queries = evidence.rows(rng, second)
    queries = queries[np.isfinite(evidence.signal[queries, :second]).any(axis=1)]
    out: dict[int, list[tuple[object, ...]]] = {first: [] for first in range(second)}
    if len(queries) < LEAST:
        return out
    y, earlier = evidence.signal[queries, second], given_earlier(draws, evidence.signal[queries, :second])
    new, tails = earlier.replicate(rng), {}
    for tail in ("lower", "upper"):
        inside, cut = _tail_of(y, tail)
        below, at = draws.cdf(second, np.array([cut]))
        chance = earlier.cdf(np.broadcast_to(at if tail == "lower" else below, new.shape))
        tails[tail] = inside, chance if tail == "lower" else 1.0 - chance
    for first in out:
        both = np.isfinite(evidence.signal[queries, first])
        n, x = int(both.sum()), evidence.signal[queries[both], first]
        if n < LEAST or np.ptp(x) == 0.0 or np.ptp(y[both]) == 0.0:
            continue
        observed, taus = kendall(x, y[None, both])[0], kendall(x, new[:, both])
        found: list[tuple[object, ...]] = []
        found.append(("tau", n, "", observed, *centre_range(taus), two_sided(observed, taus)))
        for tail, (inside, chance) in tails.items():
            here = _tail_of(x, tail)[0]
            counts = _joint_tail(int(inside[both][here].sum()), chance[:, both][:, here], rng)
            found.append((f"{tail} tail", n, "", *(count / n for count in counts[:3]), counts[3]))
        if first == second - 1 and draws.loading is None:
            rival, *rest = _family(evidence, first, x, y[both], new[:, both], rng)
            found.append(("family", n, rival, *rest))
        out[first] = found
    return out


def _constant(evidence: Evidence, *stages: int) -> bool:
    """Whether one of the stages gives all of its queries one confidence, so that there is nothing to see."""
    signals = [evidence.signal[np.isfinite(evidence.signal[:, j]), j] for j in stages]
    return any(len(signal) >= LEAST and np.ptp(signal) == 0.0 for signal in signals)


def _tail_of(signal: np.ndarray, tail: str) -> tuple[np.ndarray, float]:
    """Which signals lie in their own lowest or highest tenth, with all that are equal to its end; and that end."""
    if tail == "lower":
        cut = float(np.quantile(signal, _TAIL, method="higher"))
        return signal <= cut, cut
    cut = float(np.quantile(signal, 1.0 - _TAIL, method="lower"))
    return signal >= cut, cut


def _joint_tail(observed: int, chance: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """How many queries in one stage's tail are in the other's: observed, the replicates' central range, and p.

    Given the earlier signals each is in the later tail with a known chance (draw, query), so that the count is
    about binomial; in truth it scatters a little less.
    """
    n, mean = chance.shape[1], chance.mean(axis=1)
    least, most = bdtr(observed, n, mean).mean(), bdtrc(observed - 1.0, n, mean).mean() if observed else 1.0
    counts = np.sum(rng.uniform(size=chance.shape) < chance, axis=1)
    p = np.nan if np.ptp(chance) == 0.0 and mean[0] in (0.0, 1.0) else min(1.0, 2.0 * min(least, most))
    return (observed, *centre_range(counts), p)


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


def _family(
    evidence: Evidence, link: int, x: np.ndarray, y: np.ndarray, new: np.ndarray, rng: np.random.Generator
) -> tuple[str, float, float, float, float]:
    """Is another family likelier than the fitted one, by more than among replicates of the fitted one?

    Every family is judged at the tau of the data it is judged on, and a replicate deals out the observed later
    signals anew, in the order of the replicated ones: so tau and margins are fitted to replicates as to the data
    (the parametric bootstrap of Cox's test of separate families).

    Returns the likeliest rival, its log-likelihood ratio observed and its central range in replicates, and p,
    which is that of the rival that stands out most.
    """
    own = evidence.few.families[link]
    mean = evidence.few.mean()
    ends = [mean.cdf(link + i, signal) for i, signal in enumerate((x, y))]
    u, v = (np.clip(randomise(low[0], high[0], rng), 1e-6, 1.0 - 1e-6) for low, high in ends)
    dealt = np.empty_like(new)
    for row, z in zip(dealt, new, strict=True):
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
