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
from scipy.stats import binom

from bayescascade._common.pareto import efficient
from bayescascade._common.validation import check_prob
from bayescascade.cascade.rules import DecisionRule, route
from bayescascade.errors import Short, bad_value
from bayescascade.logs.complete import complete_rows
from bayescascade.logs.validate import validate_log
from bayescascade.rivals.empirical_risk import descend, descending, expected_wrong, price_range
from bayescascade.signals.kinds import to_signal

PATHS = ("common", "pareto", "grid")
_GRID = 200  # vectors in the grid, at most


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
    >>> from bayescascade.rivals.thresholds.learn_then_test import learn_then_test
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
    return certify(plan_tests(log, path, share, random_seed), max_error, prob)


@dataclass(frozen=True)
class PlannedTests:
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


def plan_tests(
    log: xr.Dataset, path: str | np.ndarray = "pareto", share: float = 0.5, random_seed: int = 0
) -> PlannedTests:
    """Choose the vectors to test, and run them on the queries that test them; arguments as `learn_then_test`."""
    check_prob("share", share)
    if isinstance(path, str) and path not in PATHS:
        hint = f"choose one of {', '.join(map(repr, PATHS))}, or give threshold vectors (point, stage)"
        raise bad_value("path", path, hint, "is not known")
    log = validate_log(log)
    stages, kind = [str(s) for s in log["stage"].values], str(log.attrs["confidence_kind"])
    confidence, wrong, cost = complete_rows(log, "learn-then-test", "use tune, which does not")
    n = len(confidence)
    tests = learns = np.arange(n)
    if isinstance(path, str) and path != "common":
        order, cut = np.random.default_rng(random_seed).permutation(n), round(share * n)
        learns, tests = np.sort(order[:cut]), np.sort(order[cut:])
        if not len(learns) or not len(tests):
            raise bad_value(
                "share", Short(share), "label more", f"of {n} labelled queries leaves none on one side"
            )
    if not isinstance(path, str):
        points = DecisionRule.from_any(np.atleast_2d(path), stages, kind).accept
    elif path == "common":
        points = _common(confidence)
    elif path == "grid":
        points = _grid(confidence[learns])
    else:
        points = _learnt(confidence[learns], wrong[learns], cost, kind)
    return PlannedTests(
        stages=stages,
        points=points,
        errors=route(confidence[tests], points).loss(wrong[tests]).sum(axis=1),
        cost=route(confidence, points).reach.mean(axis=2) @ cost,
        last=int(wrong[tests, -1].sum()),
        n=len(tests),
        at_once=isinstance(path, str) and path == "grid",
    )


def certify(trial: PlannedTests, max_error: float, prob: float) -> CertifiedThresholds:
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
    return binom.cdf(errors, n, max_error)


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
    routes = route(confidence, points)
    error, price = routes.loss(expected).mean(axis=1), routes.reach.mean(axis=2) @ cost
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
