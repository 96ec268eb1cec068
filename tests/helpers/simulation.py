"""Cascades run query by query, as slowly and plainly as can be."""

import numpy as np

from bayescascade.posterior.replicate import replicate_draw


def run_cascade(confidence, correct, cost, thresholds):
    """Per query: whether the answer is wrong, what it cost, how many stages ran."""
    wrong, spent, ran = np.empty((3, len(confidence)))
    for i in range(len(confidence)):
        j = 0
        while confidence[i, j] < thresholds[j]:
            j += 1
        wrong[i], spent[i], ran[i] = 1.0 - correct[i, j], cost[: j + 1].sum(), j + 1
    return wrong, spent, ran


def simulate_queries(draws, keep, thresholds, n, seed=0):
    """Wrong answers and reach of the stages ``keep`` in that order, on queries of the whole chain."""
    confidence, correct = replicate_draw(draws, 0, n, np.random.default_rng(seed))
    going, wrong, reach = np.ones(n, dtype=bool), np.zeros(n), []
    for stage, threshold in zip(keep, thresholds, strict=True):
        reach.append(going.copy())
        accept = going & (confidence[:, stage] >= threshold)
        wrong[accept] = 1.0 - correct[accept, stage]
        going &= ~accept
    return wrong, np.stack(reach, axis=1)
