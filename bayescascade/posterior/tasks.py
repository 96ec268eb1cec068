"""One task of a fit of several."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade._common.messages import listed
from bayescascade.errors import CascadeError
from bayescascade.posterior.schema import data_hash, observed_log, require


def select_task(fit: xr.DataTree, name: str) -> xr.DataTree:
    """Take the fit of one task out of a fit of several.

    Examples
    --------
    >>> import bayescascade as bc
    >>> names = ["law", "medicine"]
    >>> log = bc.combine_tasks({name: bc.simulate(80, n_stages=2, random_seed=i) for i, name in enumerate(names)})
    >>> fit = bc.fit(log, random_seed=1, progressbar=False)
    >>> law = bc.select_task(fit, "law")
    >>> dict(law["posterior"]["tau"].sizes), law.attrs["task"], law.attrs["n_queries"]
    ({'chain': 4, 'draw': 1000, 'link': 1}, 'law', 80)

    Parameters
    ----------
    fit : xarray.DataTree
        As `fit` returns it from a log with a coord ``task``.
    name : str
        One of the log's tasks.

    Returns
    -------
    xarray.DataTree
        The same groups without the dim ``task``: this task's draws beside those of what all tasks share, and its
        own queries only. Attributes are the fit's, but ``task`` is the name, and ``n_queries`` and ``data_hash``
        are those of the task's own log. The argument is left as it is.

    Raises
    ------
    CascadeError
        If the fit has no tasks, or none of this name.

    Notes
    -----
    What the other tasks say about this one is in its draws. The result is a fit like any other: `tune`,
    `evaluate`, `frontier`, `check`, `report`, the plots and `save_fit` take it.

    See Also
    --------
    combine_tasks : the logs of several tasks in one.
    """
    require(fit, tasks="several", apart=" already; select from the fit of all tasks")
    of_query = fit["observed_data"].coords["task"].values.astype(str)
    if name not in of_query.tolist():
        raise CascadeError(f"this fit has no task {name!r}; it has {listed(dict.fromkeys(of_query.tolist()))}")
    own = np.flatnonzero(of_query == name)
    groups = {path: _of_task(group.to_dataset(), name, own) for path, group in fit.children.items()}
    n_segments = int(np.isfinite(groups["constant_data"]["segment_low"].values).sum(axis=-1).max())
    for group in ("constant_data", "margins"):  # the other tasks may have more segments
        groups[group] = groups[group].isel(segment=slice(n_segments))
    tree = xr.DataTree.from_dict(groups)
    tree.attrs |= fit.attrs
    log = observed_log(tree)
    n_queries = log.sizes["query"]
    if "represents" in log.coords:
        n_queries, tree.attrs["n_modelled"] = round(float(log["represents"].sum())), n_queries
    tree.attrs |= {"task": name, "n_queries": n_queries, "data_hash": data_hash(log)}
    return tree


def _of_task(group: xr.Dataset, name: str, own: np.ndarray) -> xr.Dataset:
    # indexing by an array copies; what is left must not share its memory with the fit
    group = group.isel(query=own) if "query" in group.dims else group.copy(deep=True)
    if "task" in group.dims:
        group = group.sel(task=name, drop=True)
    return group
