"""The backtest protocol of the real logs: areas under error against cost, and paired differences."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.rivals.base import area_under


def auc(error: np.ndarray, cost: np.ndarray, log: xr.Dataset) -> float:
    """Area under error against cost, with the two ends that everybody has, by the protocol."""
    return area(error, cost, log["cost"].mean("query").values, 1.0 - log["correct"].mean("query").values)


def area(error: np.ndarray, cost: np.ndarray, mean: np.ndarray, wrong: np.ndarray) -> float:
    """`auc`, given the mean cost and the error of each stage."""
    return area_under(error, cost, mean=mean, alone=wrong)


def frontier_auc(fit: xr.DataTree, test: xr.Dataset) -> float:
    """Area on a held-out log of a fit's frontier of 50 points."""
    found = bc.score(test, bc.frontier(fit, n_points=50)["threshold"])
    return auc(found["error"].values, found["cost"].values, test)


def paired(first: Sequence[float], second: Sequence[float]) -> str:
    """Mean difference of pairs, with its standard error where there are several."""
    gap = np.subtract(second, first)
    if len(gap) < 2:
        return f"{gap.mean():+.4f}"
    return f"{gap.mean():+.4f} ± {gap.std(ddof=1) / np.sqrt(len(gap)):.4f}"
