"""What could be promised in place of a goal whose limits nothing keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayescascade.tuning.spec import TuningSpec

if TYPE_CHECKING:
    from bayescascade.tuning.solution import Solved

_TRIALS = 5
_DIGITS = 3


class Reachable(NamedTuple):
    """The lowest limits that can be promised.

    Attributes
    ----------
    limits : dict
        For each amount whose limit stands in the way, the lowest that can be promised, rounded up.
    alone : bool
        Whether each is out of reach by itself; else each is the lowest beside the goal's other limits.
    sure : bool
        Whether a limit was asked for and kept. Else it is what some draws expect of the points that were tried.
    """

    limits: dict[str, float]
    alone: bool
    sure: bool


def reachable(solved: Solved, spec: TuningSpec, solve: Callable[[TuningSpec], Solved]) -> Reachable:
    """What can be promised where ``solved`` breaks the promise; ``solve`` tunes to another goal."""
    if len(spec.bounds) == 1:
        return _lowest(solved, spec, solve)
    objective, tried = spec.objective(), solved.tried
    alone = {name: objective.with_bound(name).lowest_bound(name, tried) for name, _ in spec.bounds}
    binding = {name: rounded_up(alone[name]) for name, bound in spec.bounds if alone[name] > bound}
    if binding:
        return Reachable(binding, alone=True, sure=False)
    beside = {name: rounded_up(objective.lowest_bound(name, tried)) for name, _ in spec.bounds}
    return Reachable(beside, alone=False, sure=False)


def _lowest(solved: Solved, spec: TuningSpec, solve: Callable[[TuningSpec], Solved]) -> Reachable:
    """The only limit, as low as the nearest thresholds keep it by all draws: asked for, until it is kept."""
    name, _ = spec.bounds[0]
    for _ in range(_TRIALS):
        limit = rounded_up(solved.upper_bounds[name])
        if name == "error" and limit >= 1.0:
            break
        change: dict[str, Any] = {f"max_{name}": limit}
        solved = solve(replace(spec, **change))
        if solved.feasible:
            return Reachable({name: limit}, alone=True, sure=True)
    return Reachable({name: limit}, alone=True, sure=False)


def rounded_up(bound: float) -> float:
    """A limit in three digits, not below what it was: rounded down it could not be kept.

    Examples
    --------
    >>> rounded_up(0.27612), rounded_up(0.277), rounded_up(1234.5)
    (0.277, 0.277, 1240.0)
    """
    if bound <= 0.0 or not np.isfinite(bound):
        return float(bound)
    step = 10.0 ** (np.floor(np.log10(bound)) - _DIGITS + 1)
    return float(f"{np.ceil(bound / step - 1e-9) * step:.{_DIGITS}g}")
