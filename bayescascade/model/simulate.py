"""Logs made from known parameters, and replicated queries from posterior draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.model.copulas.family import get_family
from bayescascade.model.copulas.link import Link
from bayescascade.model.factor import conditional_rank, rank_of_conditional
from bayescascade.signals.kinds import check_kind

_MADE = ("probability", "percent", "logprob", "log_likelihood", "p_true", "score")
_NAMES = ("small", "medium", "large", "huge")


def simulate(
    n_queries: int = 300,
    *,
    n_stages: int = 3,
    copula: str | Sequence[str] = "gumbel",
    tau: float | Sequence[float] = 0.4,
    intercept: Sequence[float] | None = None,
    slope: float | Sequence[float] = 1.2,
    signal_mean: Sequence[float] | None = None,
    top_atom: float | Sequence[float] = 0.0,
    loading: float | Sequence[float] = 0.0,
    discrimination: float | Sequence[float] = 0.0,
    unanswerable: float = 0.0,
    cost: Sequence[float] | None = None,
    n_labelled: int | None = None,
    confidence_kind: str = "probability",
    stages: Sequence[str] | None = None,
    random_seed: int | None = None,
) -> xr.Dataset:
    """Simulate a log of cascade queries.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.simulate(100, n_stages=2, random_seed=1)
    >>> dict(log.sizes)
    {'query': 100, 'stage': 2}

    Parameters
    ----------
    n_queries, n_stages : int
    copula : str or sequence (link,)
    tau : float or sequence (link,)
        Kendall's tau of each link.
    intercept : sequence (stage,), optional
        Logit of P(correct) at the mean signal; default rises from 0.2 in steps of 0.9.
    slope : float or sequence (stage,)
        Per unit of signal.
    signal_mean : sequence (stage,), optional
        Default rises from 1 in steps of 0.8.
    top_atom : float or sequence (stage,)
        Share of queries with a confidence of exactly 1, those with the highest signals.
    loading : float or sequence (stage,)
        How much a query's difficulty lowers its signal, in [0, 1): the correlation of ease, minus difficulty, and
        the signal's normal score. Links join what the difficulty leaves.
    discrimination : float or sequence (stage,)
        How much a query's difficulty lowers the logit of P(correct), beyond what the signal says.
    unanswerable : float
        Share of queries that every stage gets wrong, whatever its confidence.
    cost : sequence (stage,), optional
        Mean cost per query; default is 1e-4 times powers of 5. Costs vary by 20% from query to query.
    n_labelled : int, optional
        Only so many queries keep their ``correct``; default is all.
    confidence_kind : str
        ``"probability"``, ``"percent"``, ``"logprob"``, ``"log_likelihood"``, ``"p_true"`` or ``"score"``.
    stages : sequence of str, optional
        Names; default is ``small``, ``medium``, ``large``, ...
    random_seed : int, optional

    Returns
    -------
    xarray.Dataset
        A log as `read_log` returns it. Where a loading or a discrimination is not 0, with a coordinate
        ``difficulty`` over query: each query's own, standard normal.

    Raises
    ------
    CascadeError
        For a number that is out of range, or sequences of the wrong length.

    Notes
    -----
    The signal of stage j is logistic with the given mean and unit scale; consecutive stages are joined by the
    copula; an answer is right with probability ``expit(intercept + slope * (signal - mean))``, less discrimination
    times difficulty on the scale of the logit, if the query can be answered.
    """
    check_kind(confidence_kind)
    if confidence_kind not in _MADE:
        made = f"{', '.join(_MADE[:-1])} or {_MADE[-1]}"
        raise CascadeError(f"simulate makes {made}, not {confidence_kind!r}.")
    if n_queries < 1 or n_stages < 2:
        raise CascadeError(
            "{}, {}: give at least 1 query and 2 stages.",
            (option("n_queries", n_queries), option("n_stages", n_stages)),
        )
    rng = np.random.default_rng(random_seed)
    step = np.arange(n_stages)
    taus = _spread("tau", tau, n_stages - 1, -1.0, 1.0)
    slopes = _spread("slope", slope, n_stages, 0.0, np.inf)
    atoms = _spread("top_atom", top_atom, n_stages, 0.0, 1.0)
    loadings = _spread("loading", loading, n_stages, 0.0, 1.0 - 1e-9)
    discriminations = _spread("discrimination", discrimination, n_stages, 0.0, np.inf)
    share = float(_spread("unanswerable", unanswerable, 1, 0.0, 1.0)[0])
    hard = bool(loadings.any() or discriminations.any())
    intercepts = _spread("intercept", 0.2 + 0.9 * step if intercept is None else intercept, n_stages)
    means = _spread("signal_mean", 1.0 + 0.8 * step if signal_mean is None else signal_mean, n_stages)
    costs = _spread("cost", 1e-4 * 5.0**step if cost is None else cost, n_stages, 0.0, np.inf)

    top = [[(1.0 - atom, 1.0)] if atom > 0.0 else [] for atom in atoms]
    names = [copula] * (n_stages - 1) if isinstance(copula, str) else list(copula)
    if len(names) != n_stages - 1:
        raise CascadeError(option("copula") + f" has {len(names)} families for {n_stages - 1} links.")
    links = [Link(get_family(name), taus[j : j + 1]) for j, name in enumerate(names)]
    ease = rng.standard_normal(n_queries) if hard else np.zeros(n_queries)
    u = draw_uniforms(links, n_queries, rng, top, *((loadings, ease) if hard else ()))
    signal = means + np.log(u) - np.log1p(-u)
    logit = intercepts + slopes * (signal - means) + discriminations * ease[:, None]
    correct = (rng.uniform(size=signal.shape) < 1.0 / (1.0 + np.exp(-logit))).astype(float)
    if share > 0.0:
        correct[rng.uniform(size=n_queries) < share] = 0.0
    probability = 1.0 / (1.0 + np.exp(-signal))
    probability = np.where(u > 1.0 - atoms, 1.0, probability)
    if confidence_kind == "score":
        confidence = np.where(u > 1.0 - atoms, means + 10.0, signal)
    elif confidence_kind == "probability":
        confidence = probability
    elif confidence_kind == "percent":
        confidence = 100.0 * probability
    else:
        confidence = np.log(probability)
    if n_labelled is not None:
        if not 1 <= n_labelled <= n_queries:
            raise CascadeError(
                option("n_labelled", n_labelled) + " is not between 1 and " + option("n_queries", n_queries) + ".",
                parameter="n_labelled",
                value=n_labelled,
            )
        correct[rng.permutation(n_queries)[n_labelled:]] = np.nan
    names = (
        list(stages) if stages is not None else [*_NAMES, *(f"stage{j}" for j in step[len(_NAMES) :])][:n_stages]
    )
    if len(names) != n_stages:
        raise CascadeError(option("stages") + f" has {len(names)} names for " + option("n_stages", n_stages) + ".")
    spread = rng.gamma(25.0, 1 / 25.0, size=signal.shape)
    dims = ("query", "stage")
    log = xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct), "cost": (dims, costs * spread)},
        coords={"query": np.arange(n_queries), "stage": names},
        attrs={"confidence_kind": confidence_kind, "stage_order": "as given"},
    )
    return log.assign_coords(difficulty=("query", -ease)) if hard else log


def _spread(
    name: str, value: float | Sequence[float] | np.ndarray, n: int, low: float = -np.inf, high: float = np.inf
) -> np.ndarray:
    array = np.asarray(value, dtype=float)
    if array.ndim > 1 or (array.ndim == 1 and len(array) != n):
        raise CascadeError(f"{name} has shape {array.shape}; give one number, or {n} of them.")
    if not np.all((array >= low) & (array <= high)):
        raise bad_value(name, value, f"allowed is {low} to {high}", "is out of range")
    return np.broadcast_to(array, (n,))


def draw_uniforms(
    links: Sequence[Link],
    n: int,
    rng: np.random.Generator,
    atoms: Sequence[Sequence[tuple[float, float]]] | None = None,
    loading: np.ndarray | None = None,
    ease: np.ndarray | None = None,
) -> np.ndarray:
    """Draw F(signal) along a Markov chain of signals (query, stage); each link has one draw.

    ``atoms`` gives, for each stage, the ends of its atoms on the scale of u. It is the signals that are a Markov
    chain: the next stage knows an atom's value, not where within the atom u happened to fall, so u is drawn
    anew within the atom before it is handed on. With ``loading`` (stage,) and ``ease`` (query,) it is the ranks
    given the ease of each query that are a Markov chain; see `factor`.
    """
    v = [rng.uniform(size=n)]
    for j, link in enumerate(links):
        known = v[-1].copy()
        for end in atoms[j] if atoms is not None else ():
            low, high = (
                np.broadcast_to(u if loading is None else conditional_rank(np.array(u), ease, loading[j]), n)
                for u in end
            )
            inside = (known > low) & (known <= high)
            known[inside] = rng.uniform(low[inside], high[inside])
        v.append(link.hinv1(rng.uniform(size=(1, n)), known[None])[0])
    u = np.stack(v, axis=1)
    if loading is not None and ease is not None:
        u = rank_of_conditional(u, ease[:, None], loading)
    return np.clip(u, 1e-15, 1.0 - 1e-15)
