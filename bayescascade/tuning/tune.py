"""Choose thresholds over all posterior draws: least expected loss, and promises kept with a probability.

The problem is chance-constrained: minimise a risk of the loss over draws subject to P(all bounds hold) >= prob.
Backward induction on the posterior mean, for a sweep of prices, gives a path of thresholds along the frontier, and
all draws choose its best point (`frontier_search`). That is the answer where the loss is a mean and nothing is
promised: backward induction has found the optimum. For a promise P(error <= x) >= prob, or a mean over the worst
draws, a local search moves thresholds by ever smaller steps from there, one alone or two against each other along
the bound (`local_search`).

With a model discrepancy (see `cascade.discrepancy`), thresholds stay on the path, because what the labelled
queries did is then part of the promise, and a search that sees it ends where these queries were lucky.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from bayescascade.cascade.discrepancy import ModelDiscrepancy, promise_spread, read_discrepancy
from bayescascade.cascade.rules import DecisionRule
from bayescascade.errors import bad_value
from bayescascade.posterior.draws import Draws, get_draws, stage_numbers
from bayescascade.tuning.alternatives import alternatives
from bayescascade.tuning.as_good import as_good
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.manifest import seen_by
from bayescascade.tuning.reachable import reachable
from bayescascade.tuning.solution import CHANGES, Solved, ThresholdSolution, to_solution
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.stage_search import search_stages
from bayescascade.tuning.threshold_search import search_thresholds, solved_at


def tune(
    fit: xr.DataTree,
    *,
    error_price: float | None = None,
    max_error: float | None = None,
    max_cost: float | None = None,
    max_latency: float | None = None,
    prob: float = 0.9,
    batch: int | None = None,
    risk: str = "mean",
    alpha: float = 0.1,
    abstain_price: float | None = None,
    latency_price: float | None = None,
    stages: Sequence[str] | None = None,
    doubt: float | None = None,
    currency: str | None = None,
) -> ThresholdSolution:
    """Choose thresholds for a stated goal, judged by all posterior draws.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> solution = bc.tune(fit, max_error=0.3, prob=0.9)
    >>> solution.feasible
    True

    Parameters
    ----------
    fit : xarray.DataTree
    error_price : float
        What one wrong answer costs, in the log's currency: minimise E[error] * error_price + E[cost].
    max_error, max_cost, max_latency : float
        Limits on the share of wrong answers, on cost per query (the log's currency) and on latency per query (the
        log's unit): P(all given limits hold) >= prob. Without ``error_price``, the expected cost is minimised if
        ``max_error`` is given, else the expected error.
    prob : float
        Posterior probability with which the limits must hold, in (0, 1).
    batch : int, optional
        The limits are promised for the next ``batch`` queries instead of the long run. Given the long-run rates,
        the errors of a batch are binomial, and its costs and latencies are normal.
    risk : str
        ``"mean"``: the loss is averaged over draws. ``"cvar"``: over the worst share ``alpha`` of draws.
        ``"regret"``: the same for the loss beyond each draw's own optimum; needs ``error_price``.
    alpha : float
        Share of the worst draws, in (0, 1]. A share below one draw leaves the worst draw alone: minimax.
    abstain_price : float, optional
        What leaving a query unanswered costs: each stage gets a rejecting threshold below its accepting one.
    latency_price : float, optional
        What a unit of latency costs, in the log's currency.
    stages : list of str, optional
        Run these stages, named in the log's order. By default those that reach the goal best.
    doubt : float, optional
        Safety margin for what the model misses, as a share of the error; 0 trusts the model. A limit of the error
        is judged with a discrepancy of this prior standard deviation. The labelled queries' errors under these
        thresholds update it, but never to below the model's error. The thresholds are then a point of the frontier
        of the posterior mean, because a search that sees the labelled queries would end where these were lucky.
        The default is 0.2 with ``max_error``, or 1 for a fit without a difficulty. On resplit real logs promises
        were then kept as often as asked (see the page on promises). The default is 0 if there is no such promise,
        and for ``risk="regret"``, which allows no margin. If queries miss a stage or a label, similar queries
        represent them. If there are none, ``text`` begins by saying so.
    currency : str, optional
        Of the log's costs: a name such as ``"USD"``, or a sign.

    Returns
    -------
    ThresholdSolution
        Its ``error`` and ``cost`` are posterior draws; what the safety margin makes of the error is ``margin``.
        How far a threshold may move is ``as_good``; what else there was, ``alternatives``. Where the goal is a
        limit, a cascade of fewer stages is preferred whose loss is at most 0.5% more.
        With ``feasible`` False, and the best reachable and what binds said in ``text``, when no thresholds keep
        the promise.

    Raises
    ------
    CascadeError
        Without a goal, for values out of range, for goals that contradict each other, or for latency that the log
        does not have.

    References
    ----------
    Rockafellar & Uryasev (2000), CVaR, doi:10.21314/JOR.2000.038.
    """
    spec = TuningSpec(
        error_price=error_price,
        max_error=max_error,
        max_cost=max_cost,
        max_latency=max_latency,
        prob=prob,
        batch=batch,
        risk=risk,
        alpha=alpha,
        abstain_price=abstain_price,
        latency_price=latency_price,
        doubt=doubt or 0.0,
    )
    draws = get_draws(fit)
    if doubt is None and max_error is not None and risk != "regret":
        spec = replace(spec, doubt=promise_spread(fit))
    discrepancy = read_discrepancy(fit, spec.doubt, one_sided=True)
    if currency is not None and not isinstance(currency, str):
        raise bad_value("currency", currency, "give a text, or leave it out")
    solved = tune_draws(draws, spec, discrepancy, stages)
    provenance = _provenance(fit) | ({} if stages is None else {"stages_named": True})
    solution = to_solution(solved, spec, provenance, currency)
    if not solution.feasible:
        return replace(solution, seen=seen_by(fit, solution))
    ends, others = _ends(solved, spec, discrepancy), alternatives(solved, draws, spec, discrepancy)
    return replace(solution, seen=seen_by(fit, solution), as_good=ends, alternatives=others)


def _ends(solved: Solved, spec: TuningSpec, discrepancy: ModelDiscrepancy | None) -> xr.DataArray:
    """Between which values each threshold does as well (stage, end)."""
    return xr.DataArray(
        as_good(solved, spec, discrepancy),
        dims=("stage", "end"),
        coords={"stage": solved.draws.stages, "end": ["low", "high"]},
    )


def tune_draws(
    draws: Draws,
    spec: TuningSpec,
    discrepancy: ModelDiscrepancy | None = None,
    stages: Sequence[str] | None = None,
) -> Solved:
    """`tune` as a function of posterior draws: with the stages named, or those that reach the goal best.

    Raises `CascadeError` for unknown stages, another order than the log's, or latency that the draws do not have.
    """
    if isinstance(stages, str):
        raise bad_value("stages", stages, "give a list of the stages to run, or leave it out", "is one name")
    named = None if stages is None else draws.restrict(stage_numbers(stages, draws.stages))

    def solve(spec: TuningSpec) -> Solved:
        if named is None:
            return search_stages(draws, spec, discrepancy)
        return search_thresholds(named, spec, discrepancy)

    solved = solve(spec)
    return solved if solved.feasible else replace(solved, reachable=reachable(solved, spec, solve))


def solution_at(fit: xr.DataTree, thresholds: Any, goal: Mapping[str, Any]) -> ThresholdSolution:
    """Thresholds of this fit as a solution of a goal that they were tuned to, such as a policy file's."""
    draws, spec = get_draws(fit), TuningSpec(**goal)
    rule = DecisionRule.from_any(thresholds, draws.stages, draws.kind)
    draws = rule.restrict(draws)
    discrepancy = read_discrepancy(fit, spec.doubt, one_sided=True)
    solved = solved_at(rule.positions(draws)[0], spec.objective(draws), Evaluator(draws, discrepancy=discrepancy))
    solution = to_solution(solved, spec, _provenance(fit))
    return replace(solution, as_good=_ends(solved, spec, discrepancy)) if solution.feasible else solution


def _provenance(fit: xr.DataTree) -> dict[str, Any]:
    """Which fit a solution comes from."""
    return {
        "data_hash": str(fit.attrs.get("data_hash", "")),
        "copula": str(fit.attrs["copula"]),
        "n_queries": int(fit.attrs.get("n_queries", 0)),
        **{name: read(fit.attrs[name]) for name, read in CHANGES.items() if name in fit.attrs},
    }
