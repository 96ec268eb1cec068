"""A point estimate in place of a posterior, as the published method has it: to reproduce its results."""

from __future__ import annotations

import time

import numpy as np
import xarray as xr

from bayescascade.design import Design, build_design
from bayescascade.model import model_of_design
from bayescascade.sampling import Sampling, assemble, labelled
from bayescascade.thinning import seen_weights


def fit_map(design: Design, log: xr.Dataset, how: Sampling) -> xr.DataTree:
    """The most probable values of a model's variables, as a fit of one chain with one draw.

    Most probable on the variables' own scale: `pymc.find_MAP` leaves the Jacobians of its transformations out.
    Shares within a group of segments, and means of cost and latency, are those observed.
    """
    import pymc as pm

    start = time.perf_counter()
    weight = seen_weights(log, design.options, how)
    if weight is not None:
        design = build_design(log, design.options, weight=weight)
    model = model_of_design(design)
    with model:
        found = pm.find_MAP(progressbar=False, jitter=False, return_inferencedata=True)
    posterior = labelled(found["posterior"].to_dataset(), design)
    success = bool(found["optimizer_result"]["success"]) if "optimizer_result" in found.children else True
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((1, 1), dtype=bool))})
    tree = assemble(posterior, stats, design, log, how, point=True)
    tree.attrs |= {
        "method": "map",
        "tuning_steps": 0,
        "converged": int(success),
        "sampling_time": time.perf_counter() - start,
    }
    return tree
