"""The published rival: all combinations of quantiles, and of these the efficient ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescascade._common.pareto import efficient
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.rivals.base import LogArrays, ThresholdDecisions, complete_arrays
from bayescascade.rivals.common import check_count

_BYTES = 50_000_000  # of one block of prefixes


@dataclass(frozen=True)
class GridSearch:
    """Every combination of quantiles of the training confidences, filtered for the efficient ones.

    A level is the share of training queries that a stage would defer, from none to all. With ``step=0.025`` there
    are 41 for each stage but the last. They grow with the power of the number of stages; where there would be
    more than ``max_vectors``, the levels of all stages become coarser together, which begins with six stages.
    Levels that fall on the same confidence count once.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.thresholds.grid import GridSearch
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> GridSearch(step=0.1).fit(log).thresholds.shape[1]
    3

    Attributes
    ----------
    step : float
        Between levels, in (0, 1].
    max_vectors : int
        Threshold vectors that are tried, at most.

    Notes
    -----
    Up to the last threshold but one the vectors are walked as prefixes, each with a mask of the queries that it
    still defers; all values of the last threshold follow from one product of matrices.

    References
    ----------
    Zellinger & Thomson (2025), Rational Tuning of LLM Cascades via Probabilistic Modeling, arXiv:2501.09345.
    """

    step: float = 0.025
    max_vectors: int = 3_000_000
    name: str = "grid_search"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> ThresholdDecisions:
        """Every efficient vector by rising training cost; nothing is random.

        Raises
        ------
        CascadeError
            For a step out of range, or so many stages that even two levels each are too many vectors.
        """
        if not 0.0 < self.step <= 1.0:
            raise bad_value("step", self.step, problem="should be in (0, 1]")
        check_count("max_vectors", self.max_vectors, 2)
        known = complete_arrays(train)
        return ThresholdDecisions(_search(known, self._levels(known.confidence[:, :-1])))

    def _levels(self, confidence: np.ndarray) -> list[np.ndarray]:
        for n in range(max(round(1.0 / self.step), 1), 0, -1):
            levels = [_quantiles(column, n) for column in confidence.T]
            if np.prod([float(len(level)) for level in levels]) <= self.max_vectors:
                return levels
        raise CascadeError(
            f"{confidence.shape[1] + 1} stages with two levels each are {2.0 ** confidence.shape[1]:.3g} vectors, "
            "and " + option("max_vectors", self.max_vectors) + "; a grid is not for so many stages."
        )


def _quantiles(confidence: np.ndarray, n: int) -> np.ndarray:
    """Thresholds that defer shares 0, 1/n, 2/n, .. 1 of the queries, as far as ties allow."""
    return np.append(np.unique(np.quantile(confidence, np.arange(n) / n, method="lower")), np.inf)


def _search(known: LogArrays, levels: list[np.ndarray]) -> np.ndarray:
    """The efficient vectors (point, stage) of all combinations of levels."""
    n, n_stages = known.wrong.shape
    # whole numbers below 2^24 are exact in single precision
    wrong = known.wrong.astype(np.float32)
    defers = [known.confidence[:, j] < level[:, None] for j, level in enumerate(levels)]  # (level, query)
    last = defers[-1].astype(np.float32)
    misses = (np.where(defers[-1], wrong[:, -1], wrong[:, -2])).T  # (query, level)
    shape = tuple(len(level) for level in levels[:-1])
    size = int(np.prod(shape))
    block = max(1, _BYTES // (4 * 3 * n))
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, size, block):
        prefix = np.arange(start, min(start + block, size))
        at = np.unravel_index(prefix, shape) if shape else ()
        mask = np.ones((len(prefix), n), dtype=bool)
        errors, cost = np.zeros(len(prefix)), np.full(len(prefix), known.cost[0])
        for j in range(n_stages - 2):
            defer = defers[j][at[j]]
            errors += (mask & ~defer) @ wrong[:, j]
            mask &= defer
            cost += mask.mean(axis=1) * known.cost[j + 1]
        going = mask.astype(np.float32)
        errors = (errors[:, None] + going @ misses).ravel()
        cost = (cost[:, None] + (going @ last.T) * (known.cost[-1] / n)).ravel()
        keep = efficient(errors, cost)
        kept.append((errors[keep], cost[keep], start * len(levels[-1]) + keep))
    errors, cost, vector = (np.concatenate(part) for part in zip(*kept, strict=True))
    found = np.unravel_index(vector[efficient(errors, cost)], (*shape, len(levels[-1])))
    columns = [level[i] for level, i in zip(levels, found, strict=True)]
    return np.column_stack([*columns, np.full(len(columns[0]), -np.inf)])
