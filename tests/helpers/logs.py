"""Logs of three stages for the tests of the model, with every pattern of atoms and holes."""

import numpy as np
import xarray as xr

from bayescascade.signals.kinds import to_confidence
from helpers.draws import make_signals

LOGS = ("no atoms", "top atom", "both atoms", "discrete", "partial", "one of each")


def make_log(pattern, n=60, seed=3, tasks=False):
    """A log of three stages; 'one of each' has a continuous, a mixed and a discrete stage."""
    rng = np.random.default_rng(seed)
    name = {"partial": "both atoms", "one of each": "no atoms"}.get(pattern, pattern)
    signal, kind = make_signals(3, name, n, rng)
    confidence = to_confidence(signal, kind)
    if pattern == "one of each":
        confidence[:, 1] = np.minimum(confidence[:, 1], 0.4)
        confidence[:, 2] = np.round(confidence[:, 2] / 2)
    correct = (rng.uniform(size=confidence.shape) < 0.6).astype(float)
    cost = rng.uniform(0.5, 1.5, confidence.shape) * [1.0, 4.0, 16.0]
    if pattern == "partial":
        for array in (confidence, correct, cost):
            array[10:30, 2] = np.nan
            array[20:30, 1] = np.nan
            array[30:33, 1] = np.nan  # a hole between two stages that were run
            array[40:42, 0] = np.nan
        correct[45:] = np.nan
    dims = ("query", "stage")
    log = xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct), "cost": (dims, cost)},
        coords={"query": np.arange(n), "stage": ["a", "b", "c"]},
        attrs={"confidence_kind": kind},
    )
    # the tasks take turns, so that no block of rows belongs to one
    return log.assign_coords(task=("query", np.where(np.arange(n) % 3 == 0, "z", "y"))) if tasks else log
