"""Backward induction: the best policy for a price of errors, and the thresholds that come from it.

With a price p of an error, V_k = phi_k and V_j(xi) = max(phi_j(xi), -c_{j+1} / p + E[V_{j+1} | xi_j = xi]), with a
third action, 1 - abstain_price / p, where a query may be abstained from; p (1 - V) is the loss still to come. The
signals are a Markov chain, so no policy that remembers earlier signals does better (Puterman 1994,
doi:10.1002/9780470316887, chapter 4). Everything is vectorised over draws and prices, and linear in the stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayescascade._common.arrays import concatenated
from bayescascade._common.digits import show_apart
from bayescascade._common.parallel import map_blocks
from bayescascade._common.validation import check_positive, check_worth_abstaining
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_thresholds
from bayescascade.errors import CascadeError, option
from bayescascade.induction.backward_pass import arriving_flow, best_policy, make_grids, threshold_pass
from bayescascade.induction.segment_decisions import ABSTAIN, ACCEPT, DEFER
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.kernel import Kernel, build_kernel, mean_kernel, with_latency
from bayescascade.signals.kinds import to_confidence

# Thresholds are chosen anew for the flow that arrives at them so many times, where that can make a difference:
# where the acceptance set is not a half-line, and that loses more than this, in wrong answers per query.
# Where queries have a difficulty, what arrives always makes a difference; passes end when they gain less.
_ROUNDS, _MAX_ROUNDS = 2, 10
_ROUNDING = 1e-5


def backward_induction(
    fit: xr.DataTree,
    *,
    error_price: float | Sequence[float],
    abstain_price: float | None = None,
    by_draw: bool = False,
) -> xr.Dataset:
    """The best thresholds for a price of errors, and what they lose to the best policy of any kind.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.induction.backward_induction import backward_induction
    >>> fit = bc.fit(bc.load_example(), difficulty=False, random_seed=1, progressbar=False)
    >>> out = backward_induction(fit, error_price=[0.01, 0.1])
    >>> dict(out["threshold"].sizes)
    {'price': 2, 'stage': 3}
    >>> bool((out["best_loss"] <= out["loss"]).all())
    True

    Parameters
    ----------
    fit : xarray.DataTree
    error_price : float or sequence of float
        What one wrong answer costs, in the log's currency.
    abstain_price : float, optional
        What it costs to give no answer; below every ``error_price``. Each stage then has a second threshold, below
        which it abstains. Without it, the last stage answers whatever reaches it.
    by_draw : bool
        Solve for each posterior draw separately, instead of for the posterior mean of the model. This shows how
        uncertain the best thresholds and their loss are. It takes a few milliseconds per draw.

    Returns
    -------
    xarray.Dataset
        Over ([chain, draw,] [price]): ``loss``, ``error``, ``cost`` and ``abstained`` of the thresholds (loss is
        error * error_price + cost + abstained * abstain_price, per query); without a difficulty also ``best_loss``
        of the best policy of any kind, and ``lost``, their difference. Over (..., stage): ``threshold``, on the
        raw confidence scale;
        ``reject_threshold`` with an ``abstain_price``; ``half_line``, whether what the stage should accept is all
        that is above some threshold (and what it should abstain from all below another). The attribute ``text``
        says in words what thresholds cannot do.

    Raises
    ------
    CascadeError
        For a price that is not positive, or an ``abstain_price`` that is not below every price of an error.

    Notes
    -----
    V_k = max(phi_k, a), V_j(xi) = max(phi_j(xi), -c_{j+1} / price + E[V_{j+1} | xi_j = xi], a), where
    a = 1 - abstain_price / price, and is left out without an ``abstain_price``.
    Signals are a Markov chain, so a policy that also looks at the signals of earlier stages gains nothing.

    For a fit with a difficulty they are no Markov chain, and the best policy of any kind would remember all
    signals. What comes then is the best for stages that decide by their own signal: phi_j and V_{j+1} are averages
    over the difficulty of the queries that arrive with the signal, and passes from the last stage to the first are
    repeated until none improves on the one before.

    References
    ----------
    Puterman, M. L. (1994). Markov Decision Processes, chapter 4. doi:10.1002/9780470316887
    """
    _check_prices(error_price, abstain_price)
    return backward_induction_draws(get_draws(fit), error_price, abstain_price, by_draw=by_draw)


def backward_induction_draws(
    draws: Draws,
    error_price: float | Sequence[float],
    abstain_price: float | None = None,
    *,
    by_draw: bool = False,
) -> xr.Dataset:
    """`backward_induction` as a function of posterior draws."""
    prices = _check_prices(error_price, abstain_price)
    if by_draw:
        found = map_blocks(
            lambda block: _solve(build_kernel(draws.take(block)), prices, abstain_price), draws.blocks()
        )
        solved = concatenated(found)
    else:
        solved = _solve(mean_kernel(draws), prices, abstain_price)
    return _as_dataset(draws, prices, abstain_price, solved, by_draw, np.ndim(error_price) == 0)


class Induced(NamedTuple):
    """Thresholds by backward induction beside the optimal policy, each (draw, price, ...).

    ``positions`` (..., row); ``loss``, ``error``, ``cost`` and ``abstained`` of these; ``half_line`` (..., stage),
    whether thresholds can do what is optimal there. Without a difficulty also ``best_loss`` of the optimal policy,
    its ``actions`` (..., stage, segment), and ``mass`` (draw, stage, segment) of the segments.
    """

    positions: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    cost: np.ndarray
    abstained: np.ndarray
    half_line: np.ndarray
    best_loss: np.ndarray | None = None
    actions: np.ndarray | None = None
    mass: np.ndarray | None = None


def _solve(kernel: Kernel, prices: np.ndarray, abstain_price: float | None) -> Induced:
    positions, _, shortfall = induce_draws(kernel, prices, abstain_price)
    outcomes = [forward(kernel.take(slice(i, i + 1)), positions[i]) for i in range(kernel.draws.n)]
    error, cost = (np.concatenate([getattr(out, name) for out in outcomes]) for name in ("error", "cost"))
    abstained = np.concatenate(
        [np.zeros_like(out.error) if out.abstained is None else out.abstained for out in outcomes]
    )
    loss = error * prices + cost + abstained * (abstain_price or 0.0)
    if kernel.draws.n_nodes > 1:
        return Induced(positions, loss, error, cost, abstained, shortfall <= _ROUNDING)
    optimal = best_policy(kernel, prices, abstain_price)
    # both are exact up to the position within a segment; thresholds are a policy too
    best, half_line = np.minimum(optimal.loss, loss), optimal.shortfall <= _ROUNDING
    return Induced(positions, loss, error, cost, abstained, half_line, best, optimal.actions, kernel.mass)


def _as_dataset(
    draws: Draws, prices: np.ndarray, abstain_price: float | None, solved: Induced, by_draw: bool, single: bool
) -> xr.Dataset:
    n_stages = len(draws.stages)
    lead = ("chain", "draw") if by_draw else ()
    shape = (len(draws.chains), -1) if by_draw else ()
    thresholds = {"threshold": to_thresholds(solved.positions[..., :n_stages], draws)}
    thresholds["threshold"][..., -1] = -np.inf
    if abstain_price is not None:
        thresholds["reject_threshold"] = to_thresholds(solved.positions[..., n_stages:], draws)
    over_stage = {**thresholds, "half_line": solved.half_line}
    over_price = {name: getattr(solved, name) for name in ("loss", "error", "cost", "abstained")}
    if solved.best_loss is not None:
        over_price |= {"best_loss": solved.best_loss, "lost": solved.loss - solved.best_loss}
    out = xr.Dataset(
        {
            **{k: ((*lead, "price", "stage"), v.reshape(*shape, *v.shape[1:])) for k, v in over_stage.items()},
            **{k: ((*lead, "price"), v.reshape(*shape, *v.shape[1:])) for k, v in over_price.items()},
        },
        coords={"price": prices, "stage": draws.stages, **({"chain": draws.chains} if by_draw else {})},
        attrs={"text": _explain(draws, prices, solved)},
    )
    return out.isel(price=0) if single else out


def _explain(draws: Draws, prices: np.ndarray, solved: Induced) -> str:
    """Say for which prices and stages no threshold does what is best, and what that loses at most."""
    if solved.best_loss is None:
        return (
            "Each stage decides by its own confidence. Each threshold is the best given the others; a policy that "
            "remembers earlier confidences could tell more of a query's difficulty."
        )
    lost, sets = solved.loss - solved.best_loss, ~solved.half_line.all(axis=2)
    if not sets.any():
        return (
            "What each stage should accept is all that is above a threshold: no policy of any kind does "
            "noticeably better."
        )
    where = np.unravel_index(np.argmax(np.where(sets, lost, -1.0)), lost.shape)
    draw, point = int(where[0]), int(where[1])
    said = [
        f"{name!r} should also {_difference(draws, solved, draw, point, j)}"
        for j, name in enumerate(draws.stages)
        if not solved.half_line[draw, point, j]
    ]
    text = (
        f"With an error at {prices[point]:g}, {'; '.join(said)}. Thresholds lose at most {lost[where]:.3g} per "
        f"query ({lost[where] / solved.loss[where]:.2%}) to the best policy of any kind."
    )
    if len(lost) == 1:
        return text
    return f"In {sets.any(axis=1).mean():.0%} of the draws thresholds fall short. The worst of them: {text}"


def _difference(draws: Draws, solved: Induced, draw: int, point: int, stage: int) -> str:
    """The heaviest run of segments with which a stage should do other than its thresholds do."""
    n_stages, margin = len(draws.stages), draws.margins[stage]
    assert solved.actions is not None
    assert solved.mass is not None
    n, mass = len(margin.low), solved.mass[draw, stage]
    at = solved.positions[draw, point]
    middle = np.arange(n) + 0.5
    does = np.where(middle < at[stage], DEFER, ACCEPT)
    if len(at) > n_stages:
        does = np.where(middle < at[n_stages + stage], ABSTAIN, does)
    best = solved.actions[draw, point, stage, :n]
    other = np.where(best == does, -1, best)
    starts = np.flatnonzero(np.append(True, other[1:] != other[:-1]))
    runs = [(a, b) for a, b in zip(starts, np.append(starts[1:], n), strict=True) if other[a] >= 0]
    if not runs:
        return "be cut more finely"
    first, end = max(runs, key=lambda run: mass[run[0] : run[1]].sum())
    low, high = show_apart(*to_confidence(np.array([margin.low[first], margin.high[end - 1]]), draws.kind))
    span = f"at {low}" if low == high else f"from {low} to {high}"
    verb = {DEFER: "defer", ACCEPT: "accept", ABSTAIN: "abstain"}[int(other[first])]
    return f"{verb} {span} ({mass[first:end].sum():.1%} of all queries)"


def _check_prices(error_price: float | Sequence[float], abstain_price: float | None) -> np.ndarray:
    prices = np.atleast_1d(np.asarray(error_price, dtype=object))
    if prices.ndim != 1 or not len(prices):
        raise CascadeError(
            option("error_price") + f" came with shape {prices.shape}; give one price, or a sequence of them.",
            parameter="error_price",
            value=error_price,
        )
    for price in prices:
        check_positive("error_price", price)
    check_positive("abstain_price", abstain_price)
    prices = prices.astype(float)
    check_worth_abstaining(abstain_price, prices.min())
    return prices


def induce(kernel: Kernel, prices: np.ndarray, abstain_price: float | None = None) -> np.ndarray:
    """Optimal positions for each price of an error, by backward induction on a one-draw kernel (price, row)."""
    return induce_draws(kernel, prices, abstain_price)[0][0]


def induce_draws(
    kernel: Kernel, prices: np.ndarray, abstain_price: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Optimal positions of each draw for each price of an error, as `forward` takes them, and what they lose.

    Positions are (draw, price, row), their loss in money (draw, price), their shortfall (draw, price, stage) in
    wrong answers. Where what a stage should accept is not a half-line, or queries have a difficulty, thresholds
    are chosen anew for the flow that arrives, from the last stage to the first: each pass improves on the one
    before, and at the end each threshold is the best given the others.
    """
    prices = np.asarray(prices, dtype=float)
    grids = make_grids(kernel)
    positions, loss, shortfall = threshold_pass(kernel, grids, prices, abstain_price)
    latent = kernel.draws.n_nodes > 1
    open_ = np.flatnonzero(latent | (shortfall > _ROUNDING).any(axis=(0, 2)))
    for _ in range(_MAX_ROUNDS if latent else _ROUNDS):
        if not len(open_):
            break
        flow = arriving_flow(kernel, positions[:, open_])
        again, new_loss, new_shortfall = threshold_pass(kernel, grids, prices[open_], abstain_price, flow)
        gain = loss[:, open_] - new_loss
        better = (gain > 0.0)[..., None]
        positions[:, open_] = np.where(better, again, positions[:, open_])
        shortfall[:, open_] = np.where(better, new_shortfall, shortfall[:, open_])
        loss[:, open_] -= np.maximum(gain, 0.0)
        open_ = open_[(gain > _ROUNDING * prices[open_]).any(axis=0)]
    return positions, loss, shortfall


def best_loss(kernel: Kernel, prices: np.ndarray, abstain_price: float | None = None) -> np.ndarray:
    """Loss of the optimal policy, in money per query (draw, price): of any kind, or of own-signal thresholds.

    Where queries have a difficulty the signals are no Markov chain, and the best policy would remember them all.
    """
    if kernel.draws.n_nodes > 1:
        return induce_draws(kernel, prices, abstain_price)[1]
    return best_policy(kernel, prices, abstain_price).loss


def optimal_loss(
    draws: Draws,
    error_price: float,
    abstain_price: float | None = None,
    latency_price: float | None = None,
    kernels: list[Kernel] | None = None,
) -> np.ndarray:
    """Each draw's own least loss, by `best_loss`, on all cores (draw,): the reference of regret.

    ``kernels`` are those of `build_kernels`, where they are there anyway.
    """

    def run(block: slice | Kernel) -> np.ndarray:
        kernel = build_kernel(draws.take(block)) if isinstance(block, slice) else block
        return best_loss(with_latency(kernel, latency_price), np.array([error_price]), abstain_price)[:, 0]

    parts: Iterable[slice | Kernel] = kernels or draws.blocks()
    return np.concatenate(map_blocks(run, parts))
