"""What is measured on one split for the page of promises: ours, `tune` itself, the rivals and the oracle."""

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import beta, binom

import bayescascade as bc
from bayescascade.cascade.discrepancy import add_discrepancy
from bayescascade.cascade.labelled import Seen
from bayescascade.cascade.rules import route
from bayescascade.rivals.empirical_risk import descend, price_range
from bayescascade.rivals.thresholds.learn_then_test import certify, plan_tests
from studies.common import resplits as rs
from studies.common.logs import arrays

LogArrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # threshold vectors, their error and their cost

# Where between the last stage's error (0) and the first's (1), on the pooled log, the bound on the error lies.
TARGETS = (0.15, 0.35, 0.55, 0.75)
# Where between the first stage's cost (0) and that of all stages (1) the bound on the cost lies.
COST_TARGETS = (0.25, 0.5)
PROBS = (0.8, 0.9, 0.95)
PICK = "pick, doubt {:g}"  # the cheapest of the frontier's points that keeps the batch promise
SPLIT = ["log", "k", "n", "seed", "target"]
SPREADS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.6, 1.0)  # of the discrepancy, as a share of the error
GRID = np.linspace(0.0, 1.0, 4001)
TUNED = "tune"
LTT: dict[str, dict[str, Any]] = {
    "LTT, common threshold": {"path": "common"},
    "LTT, learnt path, half": {"path": "pareto", "share": 0.5},
    "LTT, learnt path, 30%": {"path": "pareto", "share": 0.3},
    "LTT, grid": {"path": "grid", "share": 0.3},
}


def targets_of(name: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on error and on cost, from the pooled log."""
    _, wrong, cost = arrays(rs.pooled(name, k))
    error = wrong.mean(axis=0)
    bounds = error[-1] + np.array(TARGETS) * (error[0] - error[-1])
    return bounds, cost[0] + np.array(COST_TARGETS) * (cost.sum() - cost[0])


def known_vectors(confidence: np.ndarray, wrong: np.ndarray, cost: np.ndarray) -> LogArrays:
    """Threshold vectors of low loss at 100 prices and "all to the last stage", with their error and cost here."""
    points = np.unique(descend(confidence, wrong, cost, price_range(cost, 100)), axis=0)
    points = np.concatenate([points, [np.append(np.full(confidence.shape[1] - 1, np.inf), -np.inf)]])
    routes = route(confidence, points)
    return points, routes.loss(wrong).mean(axis=1), routes.reach.mean(axis=2) @ cost


def cheapest(
    confidence: np.ndarray, wrong: np.ndarray, cost: np.ndarray, known: LogArrays, max_error: float
) -> np.ndarray | None:
    """Cheapest thresholds whose error on these queries is at most ``max_error``, as far as this search finds them.

    Starts from the best of the known vectors; then one threshold moves over all its values, and two do, one over 8
    levels and the other over all, until neither helps.
    """
    points, error, price = known
    n_stages = points.shape[1]
    if not (error <= max_error).any():
        return None
    best = points[np.lexsort((price, error > max_error))[0]]
    paid = price[error <= max_error].min()
    levels = [np.unique(np.quantile(c, np.linspace(0, 1, 8), method="lower")) for c in confidence.T[:-1]]
    for _ in range(6):
        starts = [best]
        for j in range(n_stages - 1):
            if n_stages > 2:
                starts += [np.where(np.arange(n_stages) == j, x, best) for x in (*levels[j], np.inf)]
        moved = [
            line(confidence, wrong, cost, start, j, max_error) for start in starts for j in range(n_stages - 1)
        ]
        first = min(moved, key=lambda pair: pair[0])
        if not first[0] < paid * (1 - 1e-9):
            return best
        paid, best = first
    return best


def line(
    confidence: np.ndarray, wrong: np.ndarray, cost: np.ndarray, start: np.ndarray, j: int, max_error: float
) -> tuple[float, np.ndarray]:
    """Cheapest value of one threshold within the bound, the others held: cost and thresholds."""
    n = len(confidence)
    accept, defer = start.copy(), start.copy()
    accept[j], defer[j] = -np.inf, np.inf
    both = np.stack([accept, defer])
    routes = route(confidence, both)
    lost, paid = routes.loss(wrong), np.einsum("pjq,j->pq", routes.reach, cost)
    order = np.argsort(-confidence[:, j], kind="stable")
    falling = confidence[order, j]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), n - 1)

    def path(x: np.ndarray) -> np.ndarray:
        return np.append(0.0, np.cumsum((x[0] - x[1])[order])[ends]) / n + x[1].mean()

    error, price = path(lost), path(paid)
    price = np.where(error <= max_error + 1e-12, price, np.inf)
    best = int(price.argmin())
    start = start.copy()
    start[j] = np.append(np.inf, falling[ends])[best]
    return float(price[best]), start


def measure_rivals(name: str, k: int, n: int, seed: int) -> list[dict[str, Any]]:
    """LTT at each level, the empirical plug-in and the oracle, on one split."""
    labelled, held_out = rs.resplit(name, k, n, seed)
    bounds, _ = targets_of(name, k)
    found: list[dict[str, Any]] = []

    def add(method: str, i: int, prob: float, thresholds: np.ndarray, feasible: bool) -> None:
        found.append({"method": method, "target": i, "prob": prob, "feasible": feasible, "thresholds": thresholds})

    of_log = {"plug-in, labelled rows": arrays(labelled)}
    if n == rs.SIZES[0]:
        of_log["oracle"] = arrays(held_out)  # the held-out rows are the same for every n
    known = {method: known_vectors(*log) for method, log in of_log.items()}
    trials = {method: plan_tests(labelled, random_seed=seed, **options) for method, options in LTT.items()}
    for i, bound in enumerate(bounds):
        for prob in PROBS:
            for method, trial in trials.items():
                out = certify(trial, bound, prob)
                add(method, i, prob, out.thresholds.values, out.feasible)
        for method, log in of_log.items():
            best = cheapest(*log, known[method], bound)
            last = np.append(np.full(k - 1, np.inf), -np.inf)
            add(method, i, np.nan, last if best is None else best, best is not None)
    points = np.stack([row.pop("thresholds") for row in found])
    scored = bc.score(held_out, points)
    for row, error, cost in zip(found, scored["error"].values, scored["cost"].values, strict=True):
        row.update(error=error, cost=cost)
    return found


@lru_cache
def batch_table(bound: float, m: int) -> np.ndarray:
    """P(errors in m queries <= bound m) on a grid of error rates."""
    return binom.cdf(np.floor(bound * m + 1e-9), m, GRID)


def batch_keeps(bound: float, m: int, error: np.ndarray) -> np.ndarray:
    """Probability that a batch of m queries keeps the bound, under draws of the error (point,)."""
    return np.interp(error, GRID, batch_table(float(bound), m)).mean(axis=0)


def measure_ours(name: str, k: int, n: int, seed: int) -> list[dict[str, Any]]:
    """Picks from the fit's frontier with several doubts, and the plug-in, on one split."""
    bounds, cost_bounds = targets_of(name, k)
    of = rs.load_curve(name, k, n, seed)
    m = rs.pooled(name, k).sizes["query"] - max(rs.SIZES)
    error, cost = of["error"].astype(float), of["cost"].astype(float)
    rows = []

    def add(method: str, i: int, prob: float, keeps: np.ndarray, wanted: np.ndarray, sure: np.ndarray) -> None:
        feasible = bool(keeps.any())
        best = int(np.where(keeps, wanted, np.inf).argmin()) if feasible else int(sure.argmax())
        rows.append(
            {
                **{"method": method, "target": i, "prob": prob, "feasible": feasible},
                **{"log": name, "k": k, "n": n, "seed": seed},
                **{"error": of["held_error"][best], "cost": of["held_cost"][best]},
            }
        )

    mean_cost, mean_error = cost.mean(axis=0), error.mean(axis=0)
    confidence, wrong, _ = arrays(rs.resplit(name, k, n, seed)[0])
    seen = route(confidence, of["thresholds"]).loss(wrong).mean(axis=1)
    counts = seen * n + 0.5, (1.0 - seen) * n + 0.5
    rng, many = np.random.default_rng([seed, n, k]), np.tile(error, (2, 1))
    of_all = Seen.of_all(seen, n)
    wider = {spread: add_discrepancy(many, of_all, spread, rng, one_sided=True)[0] for spread in SPREADS}
    for i, bound in enumerate(bounds):
        add("plug-in, posterior mean", i, np.nan, mean_error <= bound, mean_cost, -mean_error)
        doubted = {spread: batch_keeps(bound, m, wide) for spread, wide in wider.items()}
        counted = beta.cdf(bound, *counts)
        for prob in PROBS:
            for spread, sure in doubted.items():
                add(PICK.format(spread), i, prob, sure >= prob, mean_cost, sure)
            add("own errors on the frontier", i, prob, counted >= prob, mean_cost, counted)
    for i, bound in enumerate(cost_bounds):
        kept = (cost <= bound).mean(axis=0)
        add("cost plug-in", i, np.nan, mean_cost <= bound, mean_error, -mean_cost)
        for prob in PROBS:
            add("cost, ours", i, prob, kept >= prob, mean_error, kept)
    return rows


def measure_tune(name: str, k: int, n: int, seed: int) -> list[dict[str, Any]]:
    """`tune` itself on one split, for the held-out batch and one of the bounds: each in turn from seed to seed."""
    _, held_out = rs.resplit(name, k, n, seed)
    fit, m = rs.fit_of(name, k, n, seed), held_out.sizes["query"]
    i = seed % len(TARGETS)
    bound, rows = targets_of(name, k)[0][i], []
    for prob in PROBS:
        found = bc.tune(fit, max_error=bound, prob=prob, batch=m)
        scored = bc.score(held_out, found.thresholds)
        rows.append(
            {
                **{"method": TUNED, "target": i, "prob": prob, "feasible": found.feasible},
                **{"error": float(scored["error"]), "cost": float(scored["cost"])},
            }
        )
    return rows
