"""`score`: run thresholds on the queries of a log."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayescascade.cascade.predictive import in_words, predict
from bayescascade.cascade.rules import DecisionRule, Route, route_blocks
from bayescascade.display.format import CI_PROB
from bayescascade.errors import CascadeError, bad_value
from bayescascade.logs.validate import validate_log


def score(
    log: xr.Dataset, thresholds: Any, reject: Any = None, *, cost: str = "mean", fit: xr.DataTree | None = None
) -> xr.Dataset:
    """Run thresholds on a log: the empirical counterpart of `evaluate`.

    Examples
    --------
    >>> import bayescascade as bc
    >>> out = bc.score(bc.load_example(), [0.9, 0.9, float("-inf")])
    >>> float(out["reach"][0])
    1.0

    What a solution expects, beside what a log of so many queries should show:

    >>> train, test = bc.load_example().isel(query=slice(100, None)), bc.load_example().isel(query=slice(100))
    >>> solution = bc.tune(bc.fit(train, random_seed=1, progressbar=False), max_error=0.35)
    >>> bc.score(test, solution).attrs["text"][:15]
    'Error: expected'

    A last stage that would rather not answer than answer below a confidence of 0.6:

    >>> out = bc.score(bc.load_example(), [0.9, 0.9, float("-inf")], reject=[float("-inf")] * 2 + [0.6])
    >>> bool(out["abstained"] > 0)
    True

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it. Every query must have run, and have labelled, the stage that answers it.
    thresholds : array-like, DataArray, ThresholdSolution or Policy
        As for `evaluate`. Those that name some of the log's stages only run these, in their order.
    reject : array-like or DataArray, optional
        (stage,) or (point, stage): a stage abstains below it, and the query ends there. -inf never abstains. By
        default what the solution or policy says.
    cost : str
        ``"mean"``: the sum of reach times the stage's mean cost in the log. ``"queries"``: what the queries that
        reached each stage did cost there, where known, which matters when hard queries cost more. Latency
        likewise.
    fit : DataTree, optional
        Where the thresholds are numbers, what says what to expect of them. A solution says so itself, and a
        policy where its metadata holds enough.

    Returns
    -------
    xarray.Dataset
        ``error`` (wrong answers per query), ``cost`` and ``abstained`` (share of queries left without an answer)
        over ([point]); ``reach`` and ``answered`` (share answered by each stage) over ([point,] stage); where the
        log has it, ``latency`` (per query, in the log's units, NaN where a stage's is not known) over ([point]);
        the attribute ``n_queries``. Where it is known what to expect, also ``error_expected``, ``error_low``,
        ``error_high`` and the same of ``cost``: the posterior mean of the long-run rate, and the predictive
        interval of ``ci_prob`` for a log of so many queries, within which it should show them, unless the model
        is wrong or the queries are of another kind. For one threshold vector the attribute ``text`` says it in
        words.

    Raises
    ------
    CascadeError
        For bad thresholds, or when a query is deferred to a stage that the log has not run or not labelled.
    """
    log = validate_log(log)
    stages = [str(name) for name in log["stage"].values]
    rule = DecisionRule.from_any(thresholds, stages, str(log.attrs["confidence_kind"]), reject)
    log = log.sel(stage=rule.stages)
    confidence = log["confidence"].transpose("query", "stage").values
    correct = log["correct"].transpose("query", "stage").values
    n, own_cost, wrong = len(confidence), _costs(log, cost), correct.T < 0.5
    latency = log["latency"].transpose("query", "stage").values if "latency" in log else None
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("error", "cost", "abstained", "reach", "answered")}
    waited = []
    for route in route_blocks(confidence, rule.accept, rule.reject):
        _check_labels(log, route, confidence, correct)
        found["error"].append(np.count_nonzero(route.accepted & wrong, axis=(1, 2)) / n)
        found["cost"].append(_total(own_cost, route.reach, cost).mean(axis=1))
        found["abstained"].append(route.abstained_share)
        found["reach"].append(np.count_nonzero(route.reach, axis=2) / n)
        found["answered"].append(np.count_nonzero(route.accepted, axis=2) / n)
        if latency is not None:
            waited.append(_total(latency, route.reach, cost).mean(axis=1))
    dims = ("point", "stage")
    out = xr.Dataset(
        {name: (dims[: values[0].ndim], np.concatenate(values)) for name, values in found.items()},
        coords={"stage": rule.stages},
        attrs={"n_queries": n},
    )
    if latency is not None:
        out["latency"] = ("point", np.concatenate(waited), log["latency"].attrs)
    source = fit if fit is not None else None if reject is not None else thresholds
    for name, of in predict(source, rule, n).items():
        out = out.assign({f"{name}_{part}": ("point", values) for part, values in of._asdict().items()})
        out.attrs["ci_prob"] = CI_PROB
    if not rule.single:
        return out
    out = out.isel(point=0)
    return out.assign_attrs(text=in_words(out)) if "error_expected" in out else out


def _check_labels(log: xr.Dataset, route: Route, confidence: np.ndarray, correct: np.ndarray) -> None:
    unlabelled, unrun = ~np.isfinite(correct.T), np.isnan(confidence.T)
    if not (unlabelled.any() or unrun.any()):
        return
    missing = (route.accepted & unlabelled) | (route.reach & unrun)
    if missing.any():
        first = missing[missing.any(axis=(1, 2)).argmax()]  # (stage, query)
        j = int(first.any(axis=1).argmax())
        query, name = log["query"].values[first[j].argmax()], str(log["stage"].values[j])
        raise CascadeError(
            f"{first[j].sum()} queries (first: {query}) are answered by stage {name!r}, which the log "
            "has not run or not labelled for them; score needs a log in which it is run and labelled."
        )


def cost_of_queries(log: xr.Dataset, rule: DecisionRule, cost: str = "mean") -> np.ndarray:
    """Cost of each query under a rule, by stages' mean costs or by its own if known (point, query)."""
    confidence = log["confidence"].transpose("query", "stage").values
    return _total(_costs(log, cost), rule.apply(confidence).reach, cost)


def _costs(log: xr.Dataset, cost: str) -> np.ndarray:
    if cost not in ("mean", "queries"):
        raise bad_value("cost", cost, "choose 'mean' or 'queries'", "is not known")
    return log["cost"].transpose("query", "stage").values


def _total(own: np.ndarray, reach: np.ndarray, cost: str) -> np.ndarray:
    """Sum over the stages that each query runs of what they take (point, query)."""
    out = np.zeros((len(reach), len(own)))
    for j, paid in enumerate(own.T):
        out += np.where(reach[:, j], _price(paid, reach[:, j], cost), 0.0)
    return out


def _price(own: np.ndarray, ran: np.ndarray, cost: str) -> np.ndarray:
    """Price of one stage: its mean cost, or each query's own where that is known; broadcasts to (point, query)."""
    known = np.isfinite(own)
    mean = own[known].mean() if known.any() else np.nan
    if cost == "mean":
        return np.array(mean)
    if known.all():
        return own
    # a cost that is not known is the mean of those that run
    means = [own[known & here].mean() if (known & here).any() else mean for here in ran]
    return np.where(known, own, np.array(means)[:, None])
