"""Log density of every signal, from draws and the tree's splits."""

import numpy as np

from bayescascade.model.copulas.family import get_family
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.margins.tree import tree_paths
from bayescascade.posterior.draws import get_draws
from bayescascade.signals.kinds import to_signal


def log_densities(fit, log):
    """Log density of each continuous signal given the stage before, under Gumbel links; a list of (draw, query).

    The tree's splits give the masses of leaves. Within a leaf the segments' shares are as observed, and for its
    own density a query is left out of the count.
    """
    draws, out, before = get_draws(fit), [], None
    left, right = tree_paths()
    split = fit["posterior"]["margin_split"].transpose("chain", "draw", "stage", "split").values
    signal = to_signal(log["confidence"].values, "probability")
    for j, margin in enumerate(draws.margins):
        p = split[:, :, j].reshape(len(draws.tau), -1)
        parts = [
            np.where(path * margin.split_used, q[:, None, :], 1.0) for path, q in ((left, p), (right, 1.0 - p))
        ]
        leaf = np.prod(parts[0] * parts[1], axis=2)
        total = np.bincount(margin.leaf, weights=margin.count, minlength=leaf.shape[1])[margin.leaf]
        mass = leaf[:, margin.leaf] * margin.count / total
        edges = np.append(margin.low, margin.high[-1])
        cumulative = np.pad(np.cumsum(mass, axis=1), ((0, 0), (1, 0)))
        segment = np.clip(np.searchsorted(edges, signal[:, j], side="right") - 1, 0, len(margin.low) - 1)
        width = np.where(margin.is_atom, np.nan, margin.high - margin.low)[segment]
        u = cumulative[:, segment] + mass[:, segment] * (signal[:, j] - margin.low[segment]) / width
        others = np.maximum(margin.count - 1.0, 0.5) / np.maximum(total - 1.0, 1.0)
        alone = np.bincount(margin.leaf)[margin.leaf] == 1
        density = leaf[:, margin.leaf] * np.where(alone, 1.0, others)
        row = np.log(density[:, segment] / width)
        if before is not None:
            row = row + get_family("gumbel").logpdf(before, u, draws.tau[:, j - 1, None], NUMPY)
        out.append(row)
        before = u
    return out
