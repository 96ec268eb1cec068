"""Log-likelihood of each query under each draw, for `arviz.loo` and `arviz.compare`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.parallel import cut, map_blocks
from bayescascade.model.calibration import get_calibration, log_bernoulli
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.design import Design
from bayescascade.model.factor import NODES, query_logp
from bayescascade.model.likelihood import signal_logp
from bayescascade.model.margins.models import get_margin_model

_AT_ONCE = 200_000
_IN_MEMORY = 4_000_000  # rows times draws of a block, 32 MB for each of the arrays over them


def log_likelihood_of(posterior: xr.Dataset, design: Design, queries: Any) -> xr.Dataset:
    """Log-likelihood of each query (chain, draw, query), and of its signals and its labels where it has parts.

    ``joint`` is there for every fit, so that models with and without a difficulty can be compared by it.
    Within a group of segments that share one parameter the shares are not sampled with the rest. There a query's
    share is the one that the other queries predict, see `held_out`, so that leave-one-out compares models of a
    margin that leave more or less to such groups.
    """
    n_draws, n_queries = posterior.sizes["chain"] * posterior.sizes["draw"], len(queries)
    out: dict[str, np.ndarray] = {}
    for block, parts in log_likelihood_blocks(posterior, design, n_queries):
        for name, values in parts.items():
            out.setdefault(name, np.empty((n_draws, n_queries)))[block] = values
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], n_queries)
    return xr.Dataset(
        {name: (("chain", "draw", "query"), values.reshape(shape)) for name, values in out.items()},
        coords={"chain": posterior["chain"], "draw": posterior["draw"], "query": queries},
    )


def log_likelihood_blocks(
    posterior: xr.Dataset, design: Design, n_queries: int
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Blocks of draws, one chain after the other, and what `log_likelihood_of` says of them, (draw, query) each.

    A query has a row and a label for each stage, and their values take several arrays to compute: for all draws at
    once they would be many times what is kept.
    """
    names = (
        *("tau", "loading", "discrimination", "unanswerable"),
        *get_calibration(design.options.calibration).variables,
    )
    flat = posterior[[name for name in names if name in posterior]].stack(sample=("chain", "draw"))
    flat = flat.transpose("sample", ...).drop_vars(("sample", "chain", "draw"))
    mass, share = model_masses(posterior, design), held_out(design)
    for block in cut(flat.sizes["sample"], max(1, _IN_MEMORY // max(1, len(share)))):
        yield block, _parts(flat.isel(sample=block), mass[block], share, design, n_queries)


def _parts(
    flat: xr.Dataset, mass: np.ndarray, share: np.ndarray, design: Design, n_queries: int
) -> dict[str, np.ndarray]:
    """Log-likelihood of each query in its parts (draw, query); ``share`` is `held_out`."""
    if design.options.difficulty:
        return {
            "joint": query_rows(flat, mass, design) + np.bincount(design.row_query, share, minlength=n_queries)
        }
    rows = signal_rows(flat["tau"].values, mass, design) + share
    signal = _by_query(rows, design.row_query, n_queries)
    correct = _by_query(label_rows(flat, design), design.label_query, n_queries)
    return {"signal": signal, "correct": correct, "joint": signal + correct}


def model_masses(posterior: xr.Dataset, design: Design) -> np.ndarray:
    """Masses of the cells of the model of the margin (draw, column, cell)."""
    model = get_margin_model(design.options.margin)
    return np.asarray(model.mass(margin_splits(posterior, design), design.arrays, NUMPY))


def margin_splits(posterior: xr.Dataset, design: Design) -> np.ndarray:
    """Splits of the model of the margin, the stages of each task in turn (draw, column, split)."""
    split = posterior["margin_split"].transpose("chain", "draw", *design.column_dims, "split").values
    return split.reshape((-1, len(design.margins), split.shape[-1]))


def held_out(design: Design) -> np.ndarray:
    """What to add to a row's log-likelihood for its share of its group to be that of the other queries (row,).

    A segment with n of its group's N queries is left n - 1 of N - 1: the posterior predictive of a Dirichlet with
    the counts, less the query itself.
    """
    model = get_margin_model(design.options.margin)
    out = np.zeros(len(design.row_query))
    for column, margin in enumerate(design.margins):
        group = model.groups(margin)
        size = np.bincount(group, weights=margin.count)[group]
        several = np.bincount(group)[group] > 1
        others = np.maximum(margin.count - 1.0, 0.5) / np.maximum(size - 1.0, 1.0)
        shift = np.where(several, np.log(others * size / margin.count), 0.0)
        here = (design.row_column == column) & design.sampled[design.row_query]
        out[here] = shift[design.row_segment[here]]
    return out


def signal_rows(tau: np.ndarray, mass: np.ndarray, design: Design) -> np.ndarray:
    """Log-likelihood of each row of signals (draw, row), given tau (draw, ...) and the cells' masses."""
    n = len(tau)
    tau = tau.reshape(n, -1)
    log_mass = np.log(np.maximum(mass.reshape(len(mass), len(design.margins), -1), 1e-300))
    log_mass = np.broadcast_to(log_mass, (n, *log_mass.shape[1:]))
    data, n_rows = design.arrays, len(design.row_query)
    structure = design.structure
    step = max(1, _AT_ONCE // max(1, n_rows))

    def run(block: slice) -> np.ndarray:
        tail = {  # the draws are a trailing axis
            **{name: data[name][..., None] for name in data if name.startswith("point_place")},
            "row_log_shape": data["row_log_shape"][..., None],
            "cell_used": data["cell_used"][..., None],
            "row_unlinked": np.zeros((len(data["row_unlinked"]), len(tau[block]))),
        }
        moved = np.moveaxis(log_mass[block], 0, -1)
        rows = signal_logp(moved, tau[block].T, data | tail, structure.families, structure.rotated, NUMPY)
        return np.asarray(rows).T

    return np.concatenate(map_blocks(run, cut(n, step)))


def query_rows(flat: xr.Dataset, mass: np.ndarray, design: Design) -> np.ndarray:
    """Log-likelihood of each query (draw, query) where queries have a difficulty, given the cells' masses.

    ``flat`` has its draws along the first axis.
    """
    n, data, structure = flat.sizes["sample"], design.arrays, design.structure
    values = [flat[name].values.reshape(n, -1) for name in ("tau", "loading", "discrimination", "unanswerable")]
    values.append(label_logits(flat, design))
    log_mass = np.log(np.maximum(mass.reshape(n, len(design.margins), -1), 1e-300))
    step = max(1, _AT_ONCE // (len(NODES["ease"]) * max(1, len(data["row_cell"]))))

    def run(block: slice) -> np.ndarray:
        tail = {name: data[name][..., None] for name in data if data[name].dtype == float} | {
            **{name: value[:, None] for name, value in NODES.items()},
            "label_correct": data["label_correct"][:, None],
            "zero": np.zeros((1, len(values[0][block]))),
        }
        tau, loading, discrimination, unanswerable, logit = (value[block].T for value in values)
        moved = np.moveaxis(log_mass[block], 0, -1)
        arrays = data | tail
        return np.asarray(
            query_logp(moved, tau, loading, discrimination, unanswerable, logit, arrays, structure, NUMPY)
        ).T

    return np.concatenate(map_blocks(run, cut(n, step)))


def label_rows(flat: xr.Dataset, design: Design) -> np.ndarray:
    """Log-likelihood of each label (draw, label); ``flat`` has its draws along the first axis."""
    return np.asarray(log_bernoulli(design.arrays["label_correct"], label_logits(flat, design), NUMPY))


def label_logits(flat: xr.Dataset, design: Design) -> np.ndarray:
    """Logit of P(correct) of each label (draw, label), at ease 0 where queries have a difficulty."""
    calibration = get_calibration(design.options.calibration)
    values = {name: flat[name].values for name in calibration.variables}
    return np.asarray(calibration.label_logit(values, design.arrays, NUMPY, (flat.sizes["sample"],)))


def _by_query(rows: np.ndarray, query: np.ndarray, n_queries: int) -> np.ndarray:
    """Add up the rows (draw, row) of each query."""
    from scipy.sparse import csr_array

    summing = csr_array((np.ones(len(query)), (query, np.arange(len(query)))), shape=(n_queries, len(query)))
    return (summing @ rows.T).T
