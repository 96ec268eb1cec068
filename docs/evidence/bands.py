"""Coverage of 90% bands of error and cost along the frontier, on resplit real logs, with the batch's own noise.

``.venv/bin/python docs/evidence/bands.py``, after ``resplits.py`` has made the frontiers. Writes ``docs/evidence/bands.md``.
"""

import numpy as np
import resplits as rs

LEVEL = 0.9
POINTS = np.arange(4, rs.N_POINTS - 2, 6)  # of the frontier; the ends, where one stage answers all, are left out


def spread_of_cost(log, reach: np.ndarray) -> np.ndarray:
    """Standard deviation over queries of what `score` adds up, to first order (point,).

    Two sources: which stages a query runs, at the stages' mean costs; and the mean costs themselves, which `score` takes
    from the held-out rows, as they scatter in the labelled ones.
    """
    own = log["cost"].transpose("query", "stage").values
    mean = own.mean(axis=0)
    both = np.minimum(reach[:, :, None], reach[:, None, :])  # stages are run in turn: both run when the later does
    runs = np.einsum("pij,i,j->p", both - reach[:, :, None] * reach[:, None, :], mean, mean)
    prices = np.einsum("pi,pj,ij->p", reach, reach, np.atleast_2d(np.cov(own.T)))
    return np.sqrt(runs + prices)


def coverage_of(calibration: str, name: str, k: int, n: int, seed: int) -> list[dict]:
    """Where the held-out error and cost fall in their predictive distributions, along one frontier."""
    of = rs.load_curve(calibration, name, k, n, seed)
    m = rs.pooled(name, k).sizes["query"] - max(rs.SIZES)
    rng = np.random.default_rng([seed, n, k])
    error, cost = of["error"][:, POINTS].astype(float), of["cost"][:, POINTS].astype(float)
    error, cost = np.tile(error, (8, 1)), np.tile(cost, (8, 1))
    batch_error = rng.binomial(m, np.clip(error, 0, 1)) / m
    spread = spread_of_cost(rs.resplit(name, k, n, seed)[0], of["reach"][POINTS])
    batch_cost = cost + rng.normal(size=cost.shape) * spread / np.sqrt(m)
    held_error, held_cost = of["held_error"][POINTS], of["held_cost"][POINTS]
    return [
        {
            **{"calibration": calibration, "log": name, "k": k, "n": n, "seed": seed, "point": point},
            # ties of the binomial are split
            "error": np.mean(batch_error[:, i] < held_error[i])
            + 0.5 * np.mean(batch_error[:, i] == held_error[i]),
            "cost": np.mean(batch_cost[:, i] < held_cost[i]),
            "bias": error[:, i].mean() - held_error[i],
            "cost_bias": cost[:, i].mean() / held_cost[i] - 1.0,
        }
        for i, point in enumerate(POINTS)
    ]
