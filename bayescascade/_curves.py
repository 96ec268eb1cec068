"""P(correct) by the confidences so far, in plain numbers: what a policy carries to decide by history.

Imports NumPy and light modules only, so that a service starts fast. The formula is `calibration`'s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayescascade.calibration import N_ATOMS, Scaling, logit_correct
from bayescascade.errors import CascadeError
from bayescascade.signals import clip_rounding, to_signal

Array = NDArray[np.float64]

# A confidence that went through float32 is still the atom that it was in the log.
_SAME_ATOM = 1e-6
# Name of the attribute with which an array of thresholds says what they are compared with.
ATTRIBUTE = "curves"


@dataclass(frozen=True)
class Curve:
    """P(correct) at one stage, by its own signal and that of the stage before.

    Attributes
    ----------
    centre, scale, floor, ceiling : float
        How the stage's signal is standardised, also where it is the signal before the next stage's.
    intercept, slope, previous_slope : float
        Of the logit, on standardised signals; `previous_slope` is 0 at the first stage.
    atoms : tuple of (signal, offset)
        Signals that many queries share, and what each adds to the logit.
    """

    centre: float
    scale: float
    floor: float
    ceiling: float
    intercept: float
    slope: float
    previous_slope: float = 0.0
    atoms: tuple[tuple[float, float], ...] = ()

    @cached_property
    def scaling(self) -> Scaling:
        """The standardisation of the stage's signal."""
        atoms = np.full(N_ATOMS, np.nan)
        atoms[: len(self.atoms)] = [signal for signal, _ in self.atoms]
        return Scaling(self.centre, self.scale, self.floor, self.ceiling, atoms, np.empty(0))

    def own(self, signal: ArrayLike, at_atom: ArrayLike = True) -> Array:
        """Logit of P(correct) before the effect of the previous signal, for signals of any shape.

        Where ``at_atom`` is False a signal is the end of an interval, which may be an atom's value without being
        the atom.
        """
        signal = np.asarray(signal, dtype=float)
        offsets = np.array([*(offset for _, offset in self.atoms), *[0.0] * (N_ATOMS + 1 - len(self.atoms))])
        offset = np.where(at_atom, offsets[self._which_atom(signal)], 0.0)
        return np.asarray(logit_correct(self.intercept, self.slope, offset, self.scaling.standardise(signal)))

    def _which_atom(self, signal: Array) -> NDArray[np.int64]:
        found = np.full(signal.shape, N_ATOMS)
        for i, (atom, _) in enumerate(self.atoms):
            found[np.abs(signal - atom) <= _SAME_ATOM * max(1.0, abs(atom))] = i
        return found


History = tuple[Curve, ...]  # one curve for each stage but the last


def effect(history: History, stage: int, previous: ArrayLike | None) -> Array:
    """What the previous stage's signals add to the logit at a stage; nothing at the first."""
    if stage == 0 or previous is None:
        return np.zeros(())
    return history[stage].previous_slope * history[stage - 1].scaling.standardise(previous)


def p_correct(history: History, stage: int, confidence: ArrayLike, previous: ArrayLike | None, kind: str) -> Array:
    """P(correct) at a stage that is not the last, given raw confidences there and at the stage before.

    Examples
    --------
    >>> from bayescascade._curves import Curve, p_correct
    >>> curve = Curve(centre=0.0, scale=1.0, floor=-3.0, ceiling=3.0, intercept=0.0, slope=1.0, previous_slope=1.0)
    >>> p_correct((curve, curve), 1, [0.5, 0.5], [0.5, 0.9], "probability").round(3).tolist()
    [0.5, 0.9]

    Returns
    -------
    array of the shape of `confidence`
    """
    before = None if previous is None or stage == 0 else to_signal(clip_rounding(previous, kind), kind)
    own = history[stage].own(to_signal(clip_rounding(confidence, kind), kind))
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-(own + effect(history, stage, before)))))


def check_history(history: Any, n_stages: int) -> History:
    """The curves of a history, from curves or from what JSON makes of them.

    Raises
    ------
    CascadeError
        Unless there is one curve for each stage but the last, each whole.
    """
    if isinstance(history, (str, Mapping)) or not isinstance(history, Sequence):
        raise CascadeError(f"history should be a list of curves but is {history!r}")
    curves = tuple(_curve(item) for item in history)
    if len(curves) != n_stages - 1:
        raise CascadeError(
            f"history holds {len(curves)} curves for {n_stages} stages; give one for each stage but the last"
        )
    return curves


def _curve(item: Any) -> Curve:
    if isinstance(item, Curve):
        item = asdict(item)
    names = [f.name for f in fields(Curve)]
    if not isinstance(item, Mapping) or set(item) != set(names):
        raise CascadeError(f"a curve of a history should hold {', '.join(names)} but is {item!r}")
    numbers = {name: _number(name, item[name]) for name in names[:-1]}
    atoms = item["atoms"]
    pairs = isinstance(atoms, Sequence) and not isinstance(atoms, str) and len(atoms) <= N_ATOMS
    if not pairs or any(not isinstance(a, Sequence) or isinstance(a, str) or len(a) != 2 for a in atoms):
        raise CascadeError(
            f"the atoms of a curve should be at most {N_ATOMS} pairs of signal and offset but are {atoms!r}"
        )
    if not (numbers["scale"] > 0.0 and numbers["floor"] <= numbers["ceiling"]):
        raise CascadeError(
            f"a curve's scale should be above 0 and its floor at most its ceiling, but they are "
            f"{numbers['scale']!r}, {numbers['floor']!r} and {numbers['ceiling']!r}"
        )
    return Curve(**numbers, atoms=tuple((_number("atom", s), _number("offset", o)) for s, o in atoms))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise CascadeError(f"{name} of a curve should be a finite number but is {value!r}")
    return float(value)


def as_plain(history: History) -> list[dict[str, Any]]:
    """Curves as JSON holds them."""
    return [{**asdict(curve), "atoms": [list(pair) for pair in curve.atoms]} for curve in history]


def to_text(history: History) -> str:
    """Curves as one line of JSON, which is what an array of thresholds keeps as an attribute."""
    return json.dumps(as_plain(history))


def history_of(thresholds: Any, n_stages: int) -> History | None:
    """The curves that thresholds in any form are compared with; None where they are compared with confidences.

    A policy, a solution or `Rules` has ``history``; an array of thresholds has an attribute.
    """
    own = getattr(thresholds, "history", None)
    if isinstance(own, tuple):
        return check_history(own, n_stages)
    thresholds = getattr(thresholds, "thresholds", thresholds)
    text = getattr(thresholds, "attrs", {}).get(ATTRIBUTE)
    return None if text is None else check_history(json.loads(text), n_stages)
