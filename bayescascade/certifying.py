"""Learn-then-test: thresholds whose error is certified without a model of the signals; a rival of `tune`.

A threshold vector is rejected as "errs too often" by an exact binomial test, and many vectors are tested in such a
way that with probability ``prob`` over logs no bad one is certified. Of the certified ones the cheapest is taken.

Testing one vector after another along a path that does not depend on the tested queries, and stopping at the
first that fails, costs nothing for the number of vectors. Two such paths are offered. One is fixed beforehand, the
same threshold for all stages; it uses every query for the test. The other is learnt from a share of the queries
and tested on the rest. A grid with Bonferroni's correction is there because it is the textbook's first choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import xarray as xr

from bayescascade._logistic import fit_logistic
from bayescascade._pareto import efficient
from bayescascade._ranges import check_prob
from bayescascade.data import validate_log
from bayescascade.errors import CascadeError
from bayescascade.positions import check_thresholds
from bayescascade.signals import to_signal

PATHS = ("common", "pareto", "grid")
_N_PRICES = 200
_ROUNDS = 4
_GRID = 200  # vectors in the grid, at most
_RIDGE = 0.25  # weight of a squared slope or intercept: a normal prior of variance 4 on standardised signals


@dataclass(frozen=True)
class CertifiedThresholds:
    """What `learn_then_test` found.

    Attributes
    ----------
    thresholds : DataArray (stage,)
        On the raw confidence scale; a stage accepts when confidence >= threshold.
    feasible : bool
        Whether anything was certified. If not, the thresholds send every query to the last stage.
    p_value : float
        Of these thresholds: how probable so few errors were if they erred more often than ``max_error``.
    goal : dict
        ``max_error`` and ``prob``.
    tested : Dataset (point[, stage])
        What was tested, in order: ``threshold``, ``error`` on the tested queries, ``cost`` on all, ``p_value``,
        ``certified``.
    n_tested : int
        Queries that the tests used.
    text : str
        The answer in words.
    """

    thresholds: xr.DataArray
    feasible: bool
    p_value: float
    goal: dict[str, float]
    tested: xr.Dataset
    n_tested: int
    text: str


def learn_then_test(
    log: xr.Dataset,
    *,
    max_error: float,
    prob: float = 0.9,
    path: str | np.ndarray = "pareto",
    share: float = 0.5,
    random_seed: int = 0,
) -> CertifiedThresholds:
    """Cheapest thresholds that a finite-sample test certifies, with probability ``prob`` over logs.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.certifying import learn_then_test
    >>> found = learn_then_test(bc.load_example(), max_error=0.3, prob=0.9)
    >>> found.feasible
    True
    >>> float(found.p_value) <= 0.1
    True

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it. Queries without any label are left out; the others must have run, and have
        labelled, every stage.
    max_error : float
        Bound on the share of wrong answers, in (0, 1).
    prob : float
        Probability over logs that the thresholds keep the bound in the long run, in (0, 1).
    path : str or ndarray (point, stage)
        ``"common"``: one threshold for all stages, from deferring all to accepting all, each step tested on all
        queries. ``"pareto"``: a frontier learnt from a share of the queries, tested on the rest from its safest
        point on. ``"grid"``: quantiles of the share's confidences, all combinations up to 200, tested on the rest
        with Bonferroni's correction. Or threshold vectors that were chosen without this log, in the order in which
        to test them; the last stage's is -inf.
    share : float
        Share of the queries that ``"pareto"`` and ``"grid"`` learn from, in (0, 1).
    random_seed : int
        Of the split in two.

    Returns
    -------
    CertifiedThresholds

    Raises
    ------
    CascadeError
        For arguments out of range, a log that misses labels, or too few queries to split.

    Notes
    -----
    The hypothesis is R > max_error, and its p-value P(Bin(n, max_error) <= errors) is exact where the loss is 0
    or 1, hence never above Hoeffding-Bentkus's. Fixed-sequence testing controls the family-wise error at
    1 - prob. The common path is tested at every value at which a decision changes, which is to test the whole
    continuum of thresholds, so that it is fixed although the log says where the steps are.

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan & Lei (2021), Learn then Test, arXiv:2110.01052, sections 2 and 3;
    Laufer-Goldshtein, Fisch, Barzilay & Jaakkola (2023), Pareto Testing, arXiv:2210.07913.
    """
    check_prob("max_error", max_error)
    check_prob("prob", prob)
    return certify(lay_out(log, path, share, random_seed), max_error, prob)


@dataclass(frozen=True)
class Trial:
    """Threshold vectors laid out for testing, and what they do: everything but the bound and the level.

    ``points`` (point, stage) are in the order of the tests; ``errors`` (point,) are of ``n`` tested queries,
    ``cost`` (point,) of all; ``last`` are the errors where every query goes to the last stage. With ``at_once``
    all points are tested, with Bonferroni's correction, else one after another.
    """

    stages: list[str]
    points: np.ndarray
    errors: np.ndarray
    cost: np.ndarray
    last: int
    n: int
    at_once: bool


def lay_out(log: xr.Dataset, path: str | np.ndarray = "pareto", share: float = 0.5, random_seed: int = 0) -> Trial:
    """Choose the vectors to test, and run them on the queries that test them; arguments as `learn_then_test`."""
    check_prob("share", share)
    if isinstance(path, str) and path not in PATHS:
        raise CascadeError(
            f"path={path!r} is not known; choose one of {', '.join(map(repr, PATHS))}, or give threshold vectors "
            "(point, stage)."
        )
    log = validate_log(log)
    stages, kind = [str(s) for s in log["stage"].values], str(log.attrs["confidence_kind"])
    confidence, wrong, cost = complete_rows(log)
    n = len(confidence)
    tests = learns = np.arange(n)
    if isinstance(path, str) and path != "common":
        order, cut = np.random.default_rng(random_seed).permutation(n), round(share * n)
        learns, tests = np.sort(order[:cut]), np.sort(order[cut:])
        if not len(learns) or not len(tests):
            raise CascadeError(f"share={share:g} of {n} labelled queries leaves none on one side; label more.")
    if not isinstance(path, str):
        points = check_thresholds(np.atleast_2d(path), stages, kind)
    elif path == "common":
        points = _common(confidence)
    elif path == "grid":
        points = _grid(confidence[learns])
    else:
        points = _learnt(confidence[learns], wrong[learns], cost, kind)
    return Trial(
        stages=stages,
        points=points,
        errors=run(confidence[tests], wrong[tests], points).sum(axis=1),
        cost=reach_of(confidence, points).mean(axis=2) @ cost,
        last=int(wrong[tests, -1].sum()),
        n=len(tests),
        at_once=isinstance(path, str) and path == "grid",
    )


def certify(trial: Trial, max_error: float, prob: float) -> CertifiedThresholds:
    """Test the vectors of a trial, and take the cheapest that is certified."""
    values = p_values(trial.errors, trial.n, max_error)
    passes = values <= (1.0 - prob) / (len(values) if trial.at_once else 1)
    certified = passes if trial.at_once else np.logical_and.accumulate(passes)
    coords = {"stage": trial.stages}
    tested = xr.Dataset(
        {
            "threshold": (("point", "stage"), trial.points),
            "error": ("point", trial.errors / trial.n),
            "cost": ("point", trial.cost),
            "p_value": ("point", values),
            "certified": ("point", certified),
        },
        coords=coords,
    )
    feasible = bool(certified.any())
    if feasible:
        at = int(np.where(certified, trial.cost, np.inf).argmin())
        best, errors, p_value = trial.points[at], int(trial.errors[at]), float(values[at])
    else:
        best, errors = np.append(np.full(len(trial.stages) - 1, np.inf), -np.inf), trial.last
        p_value = float(p_values(np.array([errors]), trial.n, max_error)[0])
    goal = {"max_error": float(max_error), "prob": float(prob)}
    return CertifiedThresholds(
        thresholds=xr.DataArray(best, dims="stage", coords=coords),
        feasible=feasible,
        p_value=p_value,
        goal=goal,
        tested=tested,
        n_tested=trial.n,
        text=_describe(feasible, goal, int(certified.sum()), len(values), errors, trial.n, p_value),
    )


def p_values(errors: np.ndarray, n: int, max_error: float) -> np.ndarray:
    """P(Bin(n, max_error) <= errors): of the hypothesis that the error is above ``max_error``."""
    from scipy.stats import binom

    return binom.cdf(errors, n, max_error)


def reach_of(confidence: np.ndarray, thresholds: np.ndarray, reject: np.ndarray | None = None) -> np.ndarray:
    """Which stages each query runs (point, stage, query), for accepting and any rejecting thresholds."""
    defer = confidence.T[None] < thresholds[:, :, None]
    if reject is not None:
        defer &= confidence.T[None] >= reject[:, :, None]
    before = np.concatenate([np.ones_like(defer[:, :1]), defer[:, :-1]], axis=1)
    return np.logical_and.accumulate(before, axis=1)


def run(
    confidence: np.ndarray, wrong: np.ndarray, thresholds: np.ndarray, reject: np.ndarray | None = None
) -> np.ndarray:
    """What is lost on each query (point, query): ``wrong`` (query, stage) at the stage that answers, if any."""
    reach = reach_of(confidence, thresholds, reject)
    query, last = np.arange(len(wrong)), reach.sum(axis=1) - 1
    lost = wrong[query, last]
    if reject is None:
        return lost
    return np.where(confidence[query, last] < np.take_along_axis(reject, last, axis=1), 0.0, lost)


def descend(
    confidence: np.ndarray,
    wrong: np.ndarray,
    cost: np.ndarray,
    prices: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Thresholds (price, stage) of low empirical loss, wrong * price + cost, by coordinate descent.

    From the last stage back, each threshold goes to the best of all values at which a decision changes, the others
    held; the first round is backward induction, since nothing is accepted before, unless there is a ``start``.

    Parameters
    ----------
    confidence, wrong : ndarray (query, stage)
        ``wrong`` may be 0 or 1, or a probability.
    cost : ndarray (stage,)
    prices : ndarray (price,)
        What an error costs.
    start : ndarray (price, stage), optional
        Where to begin, for each price.
    """
    n_stages = confidence.shape[1]
    thresholds = np.full((len(prices), n_stages), np.inf) if start is None else start.copy()
    thresholds[:, -1] = -np.inf
    loss = prices[:, None, None] * wrong.T[None]  # (price, stage, query)
    orders = [descending(confidence[:, j]) for j in range(n_stages - 1)]
    for _ in range(_ROUNDS):
        before = thresholds.copy()
        to_go = loss[:, -1]
        for j in range(n_stages - 2, -1, -1):
            wait = cost[j + 1] + to_go
            going = reach_of(confidence, thresholds)[:, j]
            order, values, ends = orders[j]
            gain = np.cumsum((going * (wait - loss[:, j]))[:, order], axis=1)[:, ends]
            gain = np.concatenate([np.zeros((len(prices), 1)), gain], axis=1)
            thresholds[:, j] = values[gain.argmax(axis=1)]
            to_go = np.where(confidence[:, j] >= thresholds[:, j, None], loss[:, j], wait)
        if np.array_equal(before, thresholds):
            break
    return thresholds


def price_range(cost: np.ndarray, n: int = _N_PRICES) -> np.ndarray:
    """Prices from one at which no error is worth a second stage to one at which every error is."""
    positive = cost[cost > 0]
    return np.geomspace(0.1 * positive.min(), 1e3 * cost.sum(), n) if len(positive) else np.ones(1)


def descending(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order by falling value; the thresholds inf and each distinct value; where in the order each value ends."""
    order = np.argsort(-x, kind="stable")
    ends = np.append(np.flatnonzero(x[order][1:] != x[order][:-1]), len(x) - 1)
    return order, np.append(np.inf, x[order][ends]), ends


def _common(confidence: np.ndarray) -> np.ndarray:
    values = descending(confidence[:, :-1].ravel())[1]
    points = np.repeat(values[:, None], confidence.shape[1], axis=1)
    points[:, -1] = -np.inf
    return points


def _grid(confidence: np.ndarray) -> np.ndarray:
    n_stages = confidence.shape[1]
    size = max(2, int(_GRID ** (1.0 / (n_stages - 1)) + 1e-9))
    levels = [np.unique(np.quantile(c, np.arange(size - 1) / (size - 1), method="lower")) for c in confidence.T]
    # even with two levels a stage the combinations grow, so a long cascade gets a common threshold instead
    if 2 ** (n_stages - 1) > _GRID:
        return _common(confidence)
    return np.array([(*point, -np.inf) for point in product(*(np.append(x, np.inf) for x in levels[:-1]))])


def _learnt(confidence: np.ndarray, wrong: np.ndarray, cost: np.ndarray, kind: str) -> np.ndarray:
    """A frontier by calibrated confidences, from the lowest expected error to the highest (point, stage)."""
    expected = np.stack(
        [expected_wrong(to_signal(c, kind), w) for c, w in zip(confidence.T, wrong.T, strict=True)], axis=1
    )
    ends = np.full((2, len(cost)), -np.inf)
    ends[0, :-1] = np.inf
    points = np.unique(np.concatenate([ends, descend(confidence, expected, cost, price_range(cost))]), axis=0)
    error = run(confidence, expected, points).mean(axis=1)
    price = reach_of(confidence, points).mean(axis=2) @ cost
    # the safest first; where a safer point is cheaper too, there is no reason to go on to a point
    return _in_steps(confidence, points[efficient(price, error)])


def _in_steps(confidence: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Fill a path so that no threshold moves by more than one of the values seen at once (point, stage)."""
    values = [np.unique(np.concatenate([c, [-np.inf, np.inf]])) for c in confidence.T]
    ranks = np.stack([np.searchsorted(v, t) for v, t in zip(values, points.T, strict=True)], axis=1)
    path = [ranks[:1]]
    for start, end in pairwise(ranks):
        n = int(np.abs(end - start).max())
        steps = np.arange(1, n + 1)[:, None] / n
        path.append(np.round(start + steps * (end - start)).astype(int))
    found = np.concatenate(path)
    out = np.stack([v[r] for v, r in zip(values, found.T, strict=True)], axis=1)
    out[:, -1] = -np.inf
    return out


def expected_wrong(signal: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """P(wrong) by a logistic curve of the signal, falling, with a little ridge (query,)."""
    intercept, slope = fit_logistic(signal, 1.0 - wrong, ridge=_RIDGE)
    return 1.0 / (1.0 + np.exp(intercept + slope * signal))


def complete_rows(log: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence and wrong answers (query, stage) of the labelled queries, mean cost (stage,) of all."""
    confidence, correct, cost = (
        log[name].transpose("query", "stage").values for name in ("confidence", "correct", "cost")
    )
    labelled = np.isfinite(correct).any(axis=1)
    confidence, correct = confidence[labelled], correct[labelled]
    lacks = (~np.isfinite(correct) | np.isnan(confidence)).any(axis=1)
    if lacks.any() or not labelled.any():
        raise CascadeError(
            f"{lacks.sum()} of the {labelled.sum()} labelled queries miss an answer or a label at some stage; "
            "learn-then-test needs queries with every stage run and labelled. Use tune, which does not."
        )
    return confidence, 1.0 - correct, np.nanmean(cost, axis=0)


def _describe(
    feasible: bool, goal: dict[str, float], certified: int, points: int, errors: int, n: int, p_value: float
) -> str:
    bound = f"error <= {goal['max_error']:.4g} with probability {goal['prob']:g} over logs"
    seen = f"{errors} errors in {n} queries, p-value {p_value:.3g}"
    if feasible:
        return (
            f"Certified: {bound}. The cheapest of {certified} certified among {points} threshold vectors; {seen}."
        )
    return (
        f"Nothing is certified: none of {points} threshold vectors is shown to have {bound}. Every query goes to "
        f"the last stage: {seen}. Label more queries, or allow more errors."
    )
