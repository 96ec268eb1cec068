"""The backtest protocol of the real logs, shared by the scripts beside it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.baselines.base import area_under
from bayescascade.baselines.prompts import with_answers, with_prompts

DATA = Path(__file__).parents[3] / "shared" / "data"


def read(name: str, chain: str, kind: str, split: str, stages: Sequence[int]) -> xr.Dataset:
    """One split of a log, with the stages of a cascade."""
    path = DATA / f"{name}.{chain}.{split}.parquet"
    return bc.read_log(path, confidence_kind=kind, cost="answer_cost", stages=stages)


def read_texts(log: str, kind: str, split: str, stages: Sequence[int]) -> xr.Dataset:
    """One split of a log such as ``"mmlu.llama"``, with what was asked and answered."""
    name, chain = log.split(".")
    found, path = read(name, chain, kind, split, stages), DATA / f"{log}.{split}.parquet"
    return with_answers(with_prompts(found, path.with_suffix(".prompts.parquet")), path)


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


def paired(first: list[float], second: list[float]) -> str:
    """Mean difference of pairs, with its standard error."""
    gap = np.subtract(second, first)
    return f"{gap.mean():+.4f} ± {gap.std(ddof=1) / np.sqrt(len(gap)):.4f}"
