"""Choose thresholds over all posterior draws: least expected loss, and promises kept with a probability.

Backward induction on the posterior mean, for a sweep of prices, gives a path of thresholds along the frontier. All
draws value its points, and those between the best one's neighbours. The best is the answer where the loss is a
mean and nothing is promised: backward induction has found it. For a promise P(error <= x) >= prob, or a mean over
the worst draws, thresholds then move by ever smaller steps, one alone or two against each other along the bound,
while all draws find that better; for the worst draws they also start from what is best under the mean of these.
Only differences beyond rounding count, so that the last bits of a matrix product, which differ between machines,
decide nothing.

Where there is room for what the model misses (see `discrepancy`), thresholds stay on the path, because what the
labelled queries did is then part of the promise, and a search that sees it ends where these queries were lucky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bayescascade.cascade.discrepancy import Doubt, default_doubt, read_doubt
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.forward import Outcome, split_positions
from bayescascade.cascade.positions import to_thresholds, with_last
from bayescascade.errors import CascadeError
from bayescascade.induction.backward_induction import induce, optimal_loss
from bayescascade.induction.free_positions import whole_atoms
from bayescascade.induction.price_sweep import sweep
from bayescascade.induction.subsets import best_subsets
from bayescascade.posterior.draws import Draws, get_draws, stage_numbers
from bayescascade.posterior.kernel import (
    Kernel,
    against_the_chain,
    build_kernel,
    build_kernels,
    mean_kernel,
    with_latency,
)
from bayescascade.tuning.local_search import (
    Evaluator,
    along_the_frontier,
    doubted,
    measure_all,
    refine,
    starting_rows,
)
from bayescascade.tuning.objective import Amounts, Goal, amounts_of
from bayescascade.tuning.solution import ThresholdSolution, describe, remark_on_idle
from bayescascade.tuning.spec import Wish

_SEARCH_DRAWS = 300
_N_SWEEP = 40
# Points of the frontier to choose from, and draws to choose by, before all decide.
_N_PATH, _SOME_DRAWS = 100, 1000
# Subsets tuned for each price where stages are searched, how many of them on all draws, and prices about a bound.
_N_SUBSETS, _N_FINAL = 3, 2
_PRICE_FACTORS = (1 / 3, 1.0, 3.0)
_MARKED = 0.01  # by how much of the loss another order must be better than the log's


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
    stages: str | Sequence[str] | None = None,
    doubt: float | None = None,
) -> ThresholdSolution:
    """Choose thresholds for a stated goal, so that they stay good under every posterior draw.

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
        Bounds on the share of wrong answers, on cost per query (the log's currency) and on latency per query (the
        log's unit): P(all given bounds hold) >= prob. Without ``error_price``, what is minimised is the expected
        cost where ``max_error`` is given, else the expected error.
    prob : float
        Posterior probability with which the bounds must hold, in (0, 1).
    batch : int, optional
        The bounds are promised for the next ``batch`` queries rather than for the long-run rate: their errors are
        binomial, their costs and latencies normal, given the rate.
    risk : str
        ``"mean"``: the loss is averaged over draws. ``"cvar"``: over the worst share ``alpha`` of draws.
        ``"regret"``: the same for the loss beyond each draw's own optimum; needs ``error_price``.
    alpha : float
        Share of the worst draws, in (0, 1]. A share below one draw leaves the worst draw alone: minimax.
    abstain_price : float, optional
        What leaving a query unanswered costs: each stage gets a rejecting threshold below its accepting one.
    latency_price : float, optional
        What a unit of latency costs, in the log's currency.
    stages : list of str or "search", optional
        Run these stages only, in this order; or search for the best stages and their order.
    doubt : float, optional
        Room for what the model misses: the error of any thresholds gets a discrepancy with this prior standard
        deviation, as a share of the error, updated by what the labelled queries did under these thresholds, yet
        never to below the model's error. The thresholds are then a point of the frontier of the posterior mean,
        because a search that sees the labelled queries ends where these were lucky. 0 believes the model. By
        default 1 where ``max_error`` is given, because on resplit real logs promises made with 0 were kept less
        often than asked, and with 1 about as often (see the page on promises); 0 where there is no such promise,
        for ``risk="regret"``, which doubt does not go with, and where a labelled query of the fit's log misses a
        stage.

    Returns
    -------
    ThresholdSolution
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
    wish = Wish(
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
    if doubt is None and max_error is not None and risk != "regret":
        wish = replace(wish, doubt=default_doubt(fit))
    draws = get_draws(fit)
    believed = read_doubt(fit, wish.doubt, one_sided=True)
    if stages is None:
        best = solve_draws(draws, wish, believed)
    elif isinstance(stages, str):
        best = _search_stages(draws, wish, stages, believed)
    else:
        best = solve_draws(draws.restrict(stage_numbers(stages, draws.stages)), wish, believed)
    return _solution(best, wish, fit)


@dataclass(frozen=True)
class Solved:
    """The best row of some draws' cascade, and what it comes to."""

    draws: Draws
    row: np.ndarray
    outcome: Outcome
    risk: float
    feasible: bool
    kept: float
    reachable: str

    @property
    def place(self) -> tuple[bool, float, float]:
        """What to sort by: kept promises by risk, broken ones by how nearly kept."""
        return not self.feasible, 0.0 if self.feasible else -self.kept, self.risk


def solve_draws(draws: Draws, wish: Wish, doubt: Doubt | None = None) -> Solved:
    """Tune the cascade of some draws: the best of the frontier, refined where no doubt forbids it."""
    wish.check_latency(draws)
    kernels = build_kernels(draws)
    goal = replace(wish.goal(own_optimum(draws, wish)), discrepancy=doubt)
    if len(draws.stages) == 1 and wish.abstain_price is None:
        return _solved(draws, np.zeros((1, 1)), goal, kernels, "")
    index = draws.spread(_SOME_DRAWS)
    some = draws.take(index)
    few = build_kernels(some) if some.n < draws.n else kernels
    by_some, by_all = Evaluator(some, goal.of(index), few), Evaluator(draws, goal, kernels)
    best, amounts = along_the_frontier(_path(draws, some, wish), by_some, by_all)
    if doubt is None and (goal.bounds or goal.tail is not None):
        starts = best[None]
        if goal.tail is not None and wish.error_price is not None:
            starts = np.concatenate([starts, _for_the_worst(draws, wish, goal, by_all.amounts(starts))])
        best = refine(starts, by_some, by_all)
        last = by_some.amounts(best[None])
        amounts = {name: np.hstack([values, last[name]]) for name, values in amounts.items()}
    solved = _solved(draws, best[None], goal, kernels, "")
    return solved if solved.feasible else replace(solved, reachable=_what_is_reachable(goal, amounts))


def _for_the_worst(draws: Draws, wish: Wish, goal: Goal, amounts: Amounts) -> np.ndarray:
    """The best row under the mean of those draws in which a point loses most, given its amounts (1, row)."""
    worst = draws.take(np.flatnonzero(goal.worst(goal.loss(amounts))[:, 0]))
    mean = with_latency(mean_kernel(worst), wish.latency_price)
    return whole_atoms(draws, induce(mean, np.array([wish.error_price]), wish.abstain_price))


def _path(draws: Draws, some: Draws, wish: Wish) -> np.ndarray:
    """Rows along the frontier of the posterior mean, to choose from (point, row)."""
    mean = build_kernel(some.take(some.spread(_SEARCH_DRAWS))).mean()
    if not (wish.bounds or wish.doubt):
        # its own price finds the best row there is for the mean
        return starting_rows(draws, mean, wish, _N_SWEEP)
    path = starting_rows(draws, mean, wish, _N_PATH)
    if wish.abstain_price is None:
        return path
    # where errors may be many, it is best to answer everything, which no price above that of abstaining says
    plain = starting_rows(draws, mean, replace(wish, abstain_price=None), _N_PATH)
    return np.concatenate([path, np.hstack([plain, np.zeros_like(plain)])])


def _solved(draws: Draws, points: np.ndarray, goal: Goal, kernels: list[Kernel] | None, reachable: str) -> Solved:
    """The best of some rows."""
    outcome = doubted(forward_all(draws, points, kernels), draws, points, goal)
    amounts = amounts_of(outcome, draws, goal.names)
    order, keeps = goal.rank(amounts)
    best = int(order[0])
    if not keeps.any() and not reachable:
        reachable = _what_is_reachable(goal, amounts)
    kept = float(goal.kept(amounts)[best]) if goal.bounds else float("nan")
    one = outcome.take(best)
    return Solved(draws, points[best], one, float(goal.risk(amounts)[best]), bool(keeps[best]), kept, reachable)


def own_optimum(draws: Draws, wish: Wish) -> np.ndarray | None:
    """Each draw's own least loss (draw,), where regret is asked for."""
    if wish.risk != "regret" or wish.error_price is None:
        return None
    return optimal_loss(draws, wish.error_price, wish.abstain_price, wish.latency_price)


def _search_stages(draws: Draws, wish: Wish, stages: str, doubt: Doubt | None) -> Solved:
    """Tune the most promising subsets and orders on some draws, and the best of these on all."""
    if stages != "search":
        raise CascadeError(f"stages={stages!r} is not known; give a list of the stages to run, or 'search'.")
    wish.check_latency(draws)
    some = draws.thin(_SEARCH_DRAWS)
    keeps = best_subsets(
        mean_kernel(some),
        _prices(some, wish),
        _N_SUBSETS,
        abstain_price=wish.abstain_price,
        latency_price=wish.latency_price,
    )
    if tuple(range(len(draws.stages))) not in keeps:
        keeps.append(tuple(range(len(draws.stages))))
    tried = sorted((solve_draws(some.restrict(keep), wish, doubt) for keep in keeps), key=lambda one: one.place)
    along = [one for one in tried if not against_the_chain(one.draws)][:_N_FINAL]
    best = min((_on_all(draws, one, wish, doubt) for one in along), key=lambda one: one.place)
    for one in tried[:1]:
        if against_the_chain(one.draws):
            other = _on_all(draws, one, wish, doubt)
            # what such an order gains rests on an assumption that the order of the log does not need
            if other.feasible and (not best.feasible or other.risk < best.risk - _MARKED * abs(best.risk)):
                return other
    return best


def _on_all(draws: Draws, solved: Solved, wish: Wish, doubt: Doubt | None) -> Solved:
    keep = solved.draws.keep or range(len(draws.stages))
    return solve_draws(draws.restrict(keep), wish, doubt)


def _prices(draws: Draws, wish: Wish) -> list[float]:
    """Prices of an error at which subsets are compared: the one given, or those about where the bounds bind."""
    if wish.error_price is not None and not wish.bounds:
        return [wish.error_price]
    rows, prices = sweep(draws, _N_SWEEP, abstain_price=wish.abstain_price, latency_price=wish.latency_price)
    rows = whole_atoms(draws, rows)
    goal = replace(wish, risk="mean").goal()
    best = goal.rank(measure_all(draws, rows, goal, None))[0][0]
    price = float(np.clip(prices[best], prices[prices > 0].min(), prices[np.isfinite(prices)].max()))
    least = 0.0 if wish.abstain_price is None else 1.001 * wish.abstain_price
    own = [] if wish.error_price is None else [wish.error_price]
    return [*own, *(max(price * factor, least) for factor in _PRICE_FACTORS)]


def _what_is_reachable(goal: Goal, amounts: Amounts) -> str:
    """Say what can be promised at most, and which bound stands in the way."""
    sure = f"can be promised with probability {goal.prob:g}"
    sure += "" if goal.batch is None else f" for {goal.batch} queries"
    alone = {name: goal.only(name).lowest(name, amounts) for name, _ in goal.bounds}
    binding = [name for name, bound in goal.bounds if alone[name] > bound]
    if binding or len(goal.bounds) == 1:
        said = " ".join(f"The lowest {name} that {sure} is {alone[name]:.4g}." for name in binding)
        said += " Ask for no less, for a lower probability, or label more queries." if said else ""
        return said if len(goal.bounds) == 1 else f"Out of reach by itself: {' and '.join(binding)}. {said}"
    said = "; ".join(f"the lowest {name} beside the rest is {goal.lowest(name, amounts):.4g}" for name in alone)
    return f"Each bound alone {sure}, not all at once: {said}."


def _solution(best: Solved, wish: Wish, fit: xr.DataTree) -> ThresholdSolution:
    """What `tune` returns of the best row."""
    draws, outcome = best.draws, best.outcome
    accept, reject = split_positions(best.row[None], len(draws.stages))
    shape, coords = (len(draws.chains), -1), {"chain": draws.chains, "stage": draws.stages}

    def folded(values: np.ndarray | None, *dims: str) -> xr.DataArray | None:
        if values is None:
            return None
        names = ("chain", "draw", *dims)
        kept = {name: coords[name] for name in ("chain", *dims)}
        return xr.DataArray(values.reshape(*shape, *values.shape[1:]), dims=names, coords=kept)

    def by_stage(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(values, dims="stage", coords={"stage": draws.stages})

    text = "" if draws.whole is None else f"Run {', then '.join(draws.stages)}. "
    if against_the_chain(draws):
        text += (
            "This order is not the log's: it counts on correctness to depend on a stage's own confidence alone "
            "(see the check of that name), so try it on a log before use. "
        )
    text += describe(wish, best.feasible, best.kept, outcome, best.reachable)
    text += remark_on_idle(draws.stages, outcome.reach.mean(axis=0))
    error, cost, reach = folded(outcome.error), folded(outcome.cost), folded(outcome.reach, "stage")
    assert error is not None
    assert cost is not None
    assert reach is not None
    return ThresholdSolution(
        thresholds=by_stage(with_last(to_thresholds(accept[0], draws))),
        error=error,
        cost=cost,
        reach=reach,
        feasible=best.feasible,
        goal=wish.stated,
        kept=best.kept,
        text=text,
        confidence_kind=draws.kind,
        provenance={
            "data_hash": str(fit.attrs.get("data_hash", "")),
            "copula": str(fit.attrs["copula"]),
            "n_queries": int(fit.attrs.get("n_queries", 0)),
            **({"task": str(fit.attrs["task"])} if "task" in fit.attrs else {}),
        },
        reject=None if reject is None else by_stage(to_thresholds(reject[0], draws)),
        abstained=folded(outcome.abstained),
        latency=folded(outcome.latency),
    )
