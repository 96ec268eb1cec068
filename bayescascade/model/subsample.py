"""Large logs: of very many queries the dependence needs no more than a fair sample, and labels are kept first.

A log of more than a given number of queries is thinned before it is fitted. From the whole log come the cells of
the margins and, where a stage ran for nearly all queries, how many signals each holds; and the costs, as
sufficient statistics. Both take one pass. The likelihood of how signals and answers go together is that of

* a *sample* of all queries, drawn at random whatever their labels: p(signals, labels);
* further labelled queries, which may have been chosen for their confidences: p(labels | signals) alone.

Given that labels are missing at random (they may depend on the confidences, not on what the answer turns out to
be), both parts are fair, each query counts once, and what is left out only makes the posterior wider.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade._common.arrays import safe_divide
from bayescascade.errors import bad_value
from bayescascade.logs.tasks import tasks_of

MAX_QUERIES = 5000
_LEAST = 100  # below it the parts of a log say too little to be thinned further
_LEAST_OF_TASK = 200


def subsample(log: xr.Dataset, max_queries: int, seed: int) -> xr.Dataset:
    """At most so many sampled queries of a validated log, and at most so many labelled ones, in the log's order.

    Queries have two more coordinates: ``sampled``, 1 for those of the sample and 0 for those that are there for
    their labels; and ``represents``, how many queries of the log each stands for: those with a label for those
    with one. A log that is short enough comes back as it is. Where there are tasks, each has its share of the
    sample, and at least 200 queries.

    Raises `CascadeError` for a number below 100.
    """
    if not isinstance(max_queries, int | np.integer) or max_queries < _LEAST:
        raise bad_value("max_queries", max_queries, f"give a whole number of at least {_LEAST}")
    n = log.sizes["query"]
    if n <= max_queries:
        return log
    names, task = tasks_of(log)
    order = np.random.default_rng([seed, 5]).permutation(n)
    labelled = log["correct"].notnull().any("stage").values
    sampled, kept = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for t in range(max(1, len(names))):
        own = order[task[order] == t]
        share = max(max_queries * len(own) // n, _LEAST_OF_TASK if names else 0)
        sampled[own[:share]] = True
        kept[own[labelled[own]][:share]] = True
    kept |= sampled
    represents = np.empty(n)
    for t in range(max(1, len(names))):
        for of in (labelled, ~labelled):
            alike = of & (task == t)
            represents[alike] = safe_divide(np.sum(alike), np.sum(alike & kept))
    found = log.assign_coords(sampled=("query", sampled.astype(np.int8)), represents=("query", represents))
    return found.isel(query=np.flatnonzero(kept))


def fair(log: xr.Dataset) -> np.ndarray:
    """Whether each query of a fit's log is one of a fair sample of all queries (query,)."""
    if "sampled" in log.coords:
        return log["sampled"].values == 1
    return np.ones(log.sizes["query"], dtype=bool)
