"""The seven real logs in ``../shared/data``: names, kinds, and how to read them.

They are those of "Rational Tuning of LLM Cascades via Probabilistic Modeling" (Zellinger & Thomson 2025,
arXiv:2501.09345), and no part of this project.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.logs.texts import with_answers, with_prompts
from studies.common.command import ROOT

DATA = ROOT.parent / "shared" / "data"


class RealLog(NamedTuple):
    """What its confidences are, how many stages it has, and whether there is a test split."""

    kind: str
    n_stages: int
    has_test: bool = True


LOGS = {
    "mmlu.llama": RealLog("logprob", 5),
    "medmcqa.llama": RealLog("logprob", 5),
    "triviaqa.llama": RealLog("p_true", 5),
    "mmlu.qwen_oai": RealLog("logprob", 4),
    "triviaqa.qwen_oai": RealLog("p_true", 4),
    "gsm8k.llama": RealLog("p_true", 5, has_test=False),
    "gsm8k.qwen_oai": RealLog("p_true", 4, has_test=False),
}


def require_logs() -> None:
    """Stop, with a word, where the real logs are not there."""
    if not DATA.is_dir():
        sys.exit(f"the real logs are not at {DATA}; this study needs them")


def read(log: str, split: str, stages: Sequence[int] | None = None, kind: str | None = None) -> xr.Dataset:
    """One split of a log such as ``"mmlu.llama"``, with the stages of a cascade, by `answer_cost`.

    ``kind`` calls the confidences by another kind than the log's own.
    """
    path = DATA / f"{log}.{split}.parquet"
    return bc.read_log(path, confidence_kind=kind or LOGS[log].kind, cost="answer_cost", stages=stages)


def read_texts(log: str, split: str, stages: Sequence[int]) -> xr.Dataset:
    """`read`, with what was asked and answered."""
    path = DATA / f"{log}.{split}.parquet"
    return with_answers(with_prompts(read(log, split, stages), path.with_suffix(".prompts.parquet")), path)


@lru_cache
def pooled(log: str, stages: tuple[int, ...]) -> xr.Dataset:
    """Train and test of a log as one."""
    parts = [read(log, split, stages) for split in ("train", "test")]
    both = xr.concat(parts, "query")
    return both.assign_coords(query=np.arange(both.sizes["query"])).assign_attrs(parts[0].attrs)


def arrays(log: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence and wrong answers (query, stage), mean cost (stage,)."""
    log = log.transpose("query", "stage")
    return log["confidence"].values, 1.0 - log["correct"].values, log["cost"].mean("query").values
