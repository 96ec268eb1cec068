"""Does any single query decide the fit? PSIS leave-one-out, for signals and for labels."""

from __future__ import annotations

import time
import warnings
from functools import partial
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.messages import joined, say_if_long, sentence
from bayescascade.checks.evidence import Evidence
from bayescascade.checks.results import CheckResult, verdict
from bayescascade.display import checks as pictures
from bayescascade.posterior.schema import why_not_computed

# Pareto k of single queries stray over the limit by chance; one in a hundred does no harm to their sum.
MAX_BAD_SHARE = 0.01
_MAX_LOO = 8_000_000
_MANY, _TRIED = 2_000, 50  # queries from which on a few are timed first


def check_loo(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Pareto k of leave-one-query-out, for signals and for labels, or for both together if they share an ease."""
    fit = evidence.fit
    lacking = why_not_computed(fit, "leave-one-out", log_likelihood=True)
    if lacking:
        return CheckResult("loo", None, pd.DataFrame(), lacking)
    likelihood = fit["log_likelihood"].to_dataset()
    step = int(np.ceil(likelihood["joint"].size / _MAX_LOO))
    factors = [name for name in ("signal", "correct") if name in likelihood] or ["joint"]
    thin = slice(None, None, step)
    tree = xr.DataTree.from_dict(
        {"posterior": fit["posterior"].to_dataset().isel(draw=thin), "log_likelihood": likelihood.isel(draw=thin)}
    )
    lacking = why_not_computed(tree, "leave-one-out", draws=100)
    if lacking:
        return CheckResult("loo", None, pd.DataFrame(), lacking)
    rows, of_factor, unseen = [], {}, []
    for name in factors:
        # a query without a label, or whose signals are certain, has nothing to leave out
        terms = tree["log_likelihood"].to_dataset()[[name]]
        seen = (terms[name].std(("chain", "draw")) > 0.0).values
        if not seen.any():
            unseen.append({"signal": "signals", "correct": "labels"}.get(name, name))
            continue
        terms = terms.isel(query=seen)
        if terms.sizes["query"] > _MANY:
            _announce(tree, terms, name)
        loo = _loo(tree, terms, name)
        k = np.asarray(loo.pareto_k)
        of_factor[name] = loo
        rows.append((name, loo.elpd, loo.se, loo.p, k.max(), loo.good_k, np.mean(k > loo.good_k)))
    if not rows:
        return CheckResult("loo", None, pd.DataFrame(), "Skipped: no query moves the posterior. Log more queries.")
    columns = ["factor", "elpd", "se", "p", "worst_k", "good_k", "share_above"]
    table = pd.DataFrame(rows, columns=columns).set_index("factor")
    worst = table["share_above"].max()
    passed = verdict([worst] if worst > MAX_BAD_SHARE else [], unseen)
    who = f"{worst:.1%} of the queries have" if worst > 0.0 else "no query has"
    found = f"{who} a Pareto k above {table['good_k'].min():.2f}"
    if passed is not False:
        text = f"{sentence(found)}. No single query is too influential; LOO comparison is valid."
    else:
        text = (
            f"{sentence(found)}. These queries have much influence: look at them for wrong labels or confidences. "
            "LOO comparison of fits is unreliable; thresholds do not rest on it."
        )
    if unseen:
        text += f" Not tested: {joined(unseen)}; none of them moves the posterior."
    return CheckResult("loo", passed, table, text, partial(pictures.loo, of_factor))


def _loo(tree: xr.DataTree, terms: xr.Dataset, name: str) -> Any:
    """ArviZ's leave-one-out of some queries, query by query."""
    part = xr.DataTree.from_dict({"posterior": tree["posterior"].to_dataset(), "log_likelihood": terms})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a high k is what this check reports
        return az.loo(part, var_name=name, pointwise=True)


def _announce(tree: xr.DataTree, terms: xr.Dataset, name: str) -> None:
    """Say how long it takes, by the time that a few queries take."""
    start = time.monotonic()
    _loo(tree, terms.isel(query=slice(_TRIED)), name)
    left = (time.monotonic() - start) * terms.sizes["query"] / _TRIED
    say_if_long(f"The check of each query's influence, of {terms.sizes['query']:,} queries,", left)
