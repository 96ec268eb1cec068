"""`evaluate`: error, cost and reach of thresholds under every posterior draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.parallel import map_blocks
from bayescascade.cascade.forward import Outcome, forward
from bayescascade.cascade.rules import DecisionRule
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.kernel import Kernel, build_kernel, restrict_kernel


def forward_all(draws: Draws, positions: np.ndarray, kernels: list[Kernel] | None = None) -> Outcome:
    """`forward` over all draws (draw, point), by blocks on all cores, in memory that does not grow with draws.

    ``kernels`` are those of `build_kernels`, where the same draws are asked more than once.
    """

    if kernels is None:
        parts = map_blocks(lambda block: forward(build_kernel(draws.take(block)), positions), draws.blocks())
    else:
        parts = map_blocks(lambda kernel: forward(kernel, positions), kernels)
    return Outcome.concat(parts)


def forward_subsets(draws: Draws, parts: Sequence[tuple[Sequence[int], np.ndarray]]) -> list[Outcome]:
    """Outcomes (draw, point) of positions of several subsets of the stages: (stages to keep, positions) each.

    The pair masses of all stages are worked out once; ``reach`` is over all stages, 0 at those not run.
    """

    def run(block: slice) -> list[Outcome]:
        kernel = build_kernel(draws.take(block))
        found = []
        for keep, positions in parts:
            out = forward(restrict_kernel(kernel, tuple(keep)), positions)
            reach = np.zeros((*out.error.shape, len(draws.stages)))
            reach[..., list(keep)] = out.reach
            found.append(out._replace(reach=reach))
        return found

    return [Outcome.concat(of_part) for of_part in zip(*map_blocks(run, draws.blocks()), strict=True)]


def outcome_of(draws: Draws, rule: DecisionRule) -> Outcome:
    """Outcome (draw, point) of a rule for the draws' stages, of which each point may leave some out."""
    index, parts = zip(*rule.parts(), strict=True)
    keeps = [[draws.stages.index(name) for name in part.stages] for part in parts]
    found = forward_subsets(
        draws, [(k, part.positions(draws.restrict(k))) for k, part in zip(keeps, parts, strict=True)]
    )
    return Outcome.join(found).take(np.argsort(np.concatenate(index)))


def evaluate(fit: xr.DataTree, thresholds: Any) -> xr.Dataset:
    """Error, cost and reach that the model expects of thresholds, one value for each posterior draw.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> out = bc.evaluate(fit, [0.9, 0.9, float("-inf")])
    >>> dict(out["reach"].sizes)
    {'chain': 4, 'draw': 1000, 'stage': 3}

    Parameters
    ----------
    fit : xarray.DataTree
    thresholds : array-like, DataArray, ThresholdSolution or Policy
        (stage,) or (point, stage), on the raw confidence scale; a stage accepts when confidence >= threshold.
        The last stage's is -inf. What `frontier` returns has NaN at stages that a point does not run. A solution
        may have rejecting thresholds, and run some of the stages only, in the log's order.

    Returns
    -------
    xarray.Dataset
        ``error`` (share of queries answered wrongly), ``cost`` (per query, in the log's currency) and ``reach``
        (share that runs each stage), over (chain, draw[, point][, stage]). Also ``abstained`` (share left
        unanswered) where thresholds reject, and ``latency`` (per query) where the log has one for each stage.

    Raises
    ------
    CascadeError
        For thresholds of the wrong length or with NaN, a last one other than -inf, or stages in another order.
    """
    return evaluate_draws(get_draws(fit), thresholds)


def evaluate_draws(draws: Draws, thresholds: Any) -> xr.Dataset:
    """`evaluate` as a function of posterior draws, for thresholds in any form that `evaluate` takes."""
    rule = DecisionRule.from_any(thresholds, draws.stages, draws.kind)
    draws = rule.restrict(draws)
    out = outcome_of(draws, rule)._asdict()
    known = {name: values for name, values in out.items() if values is not None and np.isfinite(values).all()}
    return _fold(draws, rule.single, **known)


def _fold(draws: Draws, single: bool, **values: np.ndarray) -> xr.Dataset:
    shape = (len(draws.chains), draws.n // len(draws.chains))
    dims = ("chain", "draw", "point", "stage")
    data = {name: (dims[: v.ndim + 1], v.reshape(*shape, *v.shape[1:])) for name, v in values.items()}
    out = xr.Dataset(data, coords={"chain": draws.chains, "stage": draws.stages, "draw": np.arange(shape[1])})
    return out.isel(point=0) if single else out
