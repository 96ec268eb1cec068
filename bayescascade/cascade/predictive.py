"""What the next queries show, beside the long-run rates: posterior predictive draws of a batch of them."""

from __future__ import annotations

import numpy as np

from bayescascade.cascade.forward import Outcome
from bayescascade.posterior.draws import Draws


def stage_square(draws: Draws, name: str) -> np.ndarray:
    """What running each stage adds to the mean square of a query's cost or latency (draw, stage).

    A query that stops at stage j has spent C_j = c_1 + .. + c_j, so that E[C^2] is the sum over stages of
    P(stage j is run) (C_j^2 - C_{j-1}^2 + var_j).
    """
    mean = draws.cost if name == "cost" else draws.latency
    sd = draws.cost_sd if name == "cost" else draws.latency_sd
    assert mean is not None
    total = np.cumsum(mean, axis=1)
    square = np.diff(total**2, axis=1, prepend=0.0)
    return square if sd is None else square + sd**2


def batch_predictive(outcome: Outcome, draws: Draws, batch: int, seed: int = 0) -> Outcome:
    """Posterior predictive draws of what the next ``batch`` queries show, one batch for each draw and point.

    Given the draw, shares are binomial and means of costs and latencies normal.
    """
    rng = np.random.default_rng(seed)

    def share(rate: np.ndarray) -> np.ndarray:
        return rng.binomial(batch, np.clip(rate, 0.0, 1.0)) / batch

    def mean(name: str, value: np.ndarray) -> np.ndarray:
        square = np.einsum("dpj,dj->dp", outcome.reach, stage_square(draws, name))
        return value + rng.normal(size=value.shape) * np.sqrt(np.maximum(square - value**2, 0.0) / batch)

    return outcome._replace(
        error=share(outcome.error),
        cost=mean("cost", outcome.cost),
        abstained=None if outcome.abstained is None else share(outcome.abstained),
        latency=None if outcome.latency is None else mean("latency", outcome.latency),
    )
