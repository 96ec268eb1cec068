"""Which queries of a log to label: a random sample of those without labels.

Labels may be chosen by confidence, as far as the likelihood goes: all signals are in it, so what is missing is
missing at random. But the safety margin weights a labelled query by how often queries of its stratum are labelled,
where strata are of the answering stage's own confidence (`cascade.labelled`). A choice by the confidences of
several stages at once is more than these weights know of. A random sample needs no weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescascade.analysis.refits import unlabelled
from bayescascade.errors import CascadeError, bad_value
from bayescascade.posterior.schema import observed_log, require


def draw_queries(
    fit: xr.DataTree, n: int, *, stages: Sequence[str] | None = None, random_seed: int | None = None
) -> np.ndarray:
    """Draw queries of a fit's log to label, at random from those without labels.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.analysis.label_choice import draw_queries
    >>> log = bc.simulate(60, n_labelled=40, random_seed=1)
    >>> fit = bc.fit(log, random_seed=1, progressbar=False)
    >>> len(draw_queries(fit, 5, random_seed=1))
    5

    Parameters
    ----------
    fit : xarray.DataTree
        Of one task.
    n : int
        How many.
    stages : sequence of str, optional
        Whose answers will be labelled; by default all. A query is drawn if it has an answer of each of them, and
        a label of none.
    random_seed : int, optional

    Returns
    -------
    ndarray (query,)
        Their ids, in the order in which they were drawn: the first few are a random sample, too.

    Raises
    ------
    CascadeError
        If the log holds fewer such queries, or does not have a stage.
    """
    log = observed_log(require(fit))
    names = [str(name) for name in log["stage"].values]
    chosen = names if stages is None else list(stages)
    if not chosen or set(chosen) - set(names):
        raise bad_value("stages", stages, f"give names of stages out of {names}")
    if not isinstance(n, int | np.integer) or n < 1:
        raise bad_value("n", n, "give a whole number of at least 1")
    free = unlabelled(log, [names.index(name) for name in chosen])
    if n > len(free):
        raise CascadeError(
            f"there are not {n} queries to label: the log holds {len(free)} that have an answer of every stage "
            "asked for and a label of none. Ask for fewer, or log more queries and fit again.",
            parameter="n",
            value=n,
        )
    return np.asarray(log["query"].values[np.random.default_rng(random_seed).permutation(free)[:n]])
