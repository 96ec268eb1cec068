"""Draws of the margins: the splits that were sampled, and the masses of the segments.

Where ranks are the observed ones (`bayescascade.model.factor`), each stage's margin has the posterior of its own
signals, and these posteriors are independent. But the stages were seen on the same queries: a sample with too many
easy queries has too many high confidences at every stage. So there the splits are drawn anew with one weight for
each query, shared by all stages, the Bayesian bootstrap (Rubin 1981, doi:10.1214/aos/1176345338) of the queries.
With g_i ~ Exponential(1) for each query and shapes a, b of a split's beta prior,

    split = (A + G_left) / (A + G_left + B + G_right),    A ~ Gamma(a), B ~ Gamma(b), G = sum of the queries' g_i

is Beta(a + n_left, b + n_right), independently for all splits of a stage: its posterior, as sampled, but now
together with those of the other stages. Without it, bands of the cost of later stages are too narrow.

Where a log was thinned, the weights are those of the sampled queries, and each split is moved to the mean and the
spread of its posterior given the whole log.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.sparse import csr_array
from scipy.stats import beta

from bayescascade._common.parallel import cut
from bayescascade.inference.pointwise import margin_splits
from bayescascade.logs.tasks import tasks_of
from bayescascade.model.design import Design
from bayescascade.model.margins.models import get_margin_model
from bayescascade.model.margins.tree import N_LEAVES, tree_paths
from bayescascade.model.query_rows import RANKED

_AT_ONCE = 4_000_000  # weights, 32 MB
_LEAST_SPLIT = 1e-9


def draw_margins(posterior: xr.Dataset, design: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Splits (draw, column, split) and masses of the segments (draw, column, segment)."""
    model, splits = get_margin_model(design.options.margin), margin_splits(posterior, design)
    shared = shared_columns(design)
    splits, counted = splits.copy(), None
    if shared.any():
        counted = np.empty((len(splits), *_counts(design).shape))
        for block in cut(len(splits), max(1, _AT_ONCE // len(design.sampled))):
            splits[block], counted[block] = _with_shared_weights(splits[block], shared, design, rng)
    if design.thinned:
        splits, counted = _of_whole(splits, design), None
    return splits, model.segment_masses(splits, design.margins, rng, counted)


def shared_columns(design: Design) -> np.ndarray:
    """Which columns have the posterior of their own signals, in a tree of their leaves (column,)."""
    if not design.options.difficulty or get_margin_model(design.options.margin).by != "leaf":
        return np.zeros(len(design.margins), dtype=bool)
    return np.asarray(design.arrays["ranked"] > 0.0)


def _counts(design: Design) -> np.ndarray:
    """Observed values that each segment holds (column, segment)."""
    n = max(len(margin.low) for margin in design.margins)
    return np.stack([np.pad(margin.count, (0, n - len(margin.count))) for margin in design.margins])


def _with_shared_weights(
    splits: np.ndarray, shared: np.ndarray, design: Design, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Splits (draw, column, split), new ones for shared columns, and gammas of segments (draw, column, segment).

    Within a leaf the gammas are proportional to the segments' masses.
    """
    count, n = _counts(design), len(splits)
    rows = shared[design.row_column] & design.sampled[design.row_query]
    at = (design.row_column * count.shape[1] + design.row_segment)[rows], design.row_query[rows]
    where = csr_array((np.ones(rows.sum()), at), shape=(count.size, len(design.sampled)))
    of_queries = where @ rng.standard_exponential((where.shape[1], n))
    of_queries = of_queries.T.reshape(n, *count.shape)
    # intervals are counted by rank, not in whole queries; and columns by themselves have no queries' weights
    rest = np.maximum(count - np.bincount(at[0], minlength=count.size).reshape(count.shape), 0.0)
    left, right = tree_paths()
    out = splits.copy()
    for column in np.flatnonzero(shared):
        margin = design.margins[column]
        leaf = of_queries[:, column, : len(margin.leaf)] @ np.eye(N_LEAVES)[margin.leaf]
        shapes = design.arrays["split_prior"][:, column]
        first, second = (rng.standard_gamma(shapes[i], (n, shapes.shape[1])) for i in (0, 1))
        drawn = (first + leaf @ left) / (first + second + leaf @ (left + right))
        out[:, column] = np.where(margin.split_used, drawn, splits[:, column])
    return out, of_queries + rng.standard_gamma(rest, (n, *rest.shape))


def _of_whole(splits: np.ndarray, design: Design) -> np.ndarray:
    """Splits given sampled queries (draw, column, split), moved to where the whole log has them.

    Each keeps its place in its posterior, whose mean and spread become those given all signals. So splits go
    together from stage to stage as the sampled queries have it. A stage that was not run for nearly all queries
    stays as it is: its signals are a selection.
    """
    model, out = get_margin_model(design.options.margin), splits.copy()
    if model.by != "leaf":
        return out
    n_queries = np.bincount(tasks_of(design.whole)[1])
    left, right = tree_paths()
    for column, margin in enumerate(design.margins):
        if margin.count.sum() < RANKED * n_queries[column // len(design.stages)]:
            continue
        rows = (design.row_column == column) & design.sampled[design.row_query]
        of_sample = np.bincount(margin.leaf[design.row_segment[rows]], minlength=N_LEAVES)
        of_all = np.bincount(margin.leaf, margin.count, minlength=N_LEAVES)
        a, b = design.arrays["split_prior"][:, column]
        before, after = (beta(a + leaf @ left, b + leaf @ right) for leaf in (of_sample, of_all))
        moved = after.mean() + (splits[:, column] - before.mean()) * after.std() / before.std()
        moved = np.clip(moved, _LEAST_SPLIT, 1.0 - _LEAST_SPLIT)
        out[:, column] = np.where(margin.split_used, moved, splits[:, column])
    return out
