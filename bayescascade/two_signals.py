"""Error, cost and reach of thresholds on P(correct) given a stage's signal and the one before.

The decision rule is one fixed function of two signals, so what it accepts is the same under every draw. On the
logit it is the sum of a curve of each signal; over a cell, a pair of segments, both are taken as straight, so what
is accepted of a cell is its square cut by a line. What comes after a signal depends on that signal alone, as the
signals are a Markov chain; so it is what a stage defers of each of its own segments that goes on.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescascade._cores import n_cores
from bayescascade._curves import Curve, History
from bayescascade.calibration import N_ATOMS
from bayescascade.cascade import Kernel, Outcome, blocks, build_kernel
from bayescascade.draws import Draws
from bayescascade.errors import CascadeError
from bayescascade.margins import Margin
from bayescascade.published import check_factorisation
from bayescascade.scoring import read_rules

# A cell is at least this steep in one signal, relative to the other, so that no formula divides by zero.
_FLAT = 1e-4
# A threshold stays this clear of the P(correct) of an atom, which is computed again when the rule is applied.
_CLEAR = 1e-12


def curves_of(draws: Draws) -> History:
    """The rule that is to be exported: every stage but the last at the posterior means of its parameters."""
    mean, out = draws.mean(), []
    for j, scaling in enumerate(draws.scalings[:-1]):
        atoms = [
            (float(scaling.atoms[i]), float(mean.offset[0, j, i]))
            for i in range(N_ATOMS)
            if np.isfinite(scaling.atoms[i])
        ]
        slopes = (float(mean.slope[0, j]), 0.0 if mean.previous is None else float(mean.previous[0, j]))
        where = (scaling.centre, scaling.scale, scaling.floor, scaling.ceiling)
        out.append(Curve(*where, float(mean.intercept[0, j]), *slopes, tuple(atoms)))
    return tuple(out)


@dataclass(frozen=True)
class Cells:
    """One stage's rule over cells, on the logit: (segment before, segment), or (1, segment) at the first stage.

    Attributes
    ----------
    low : ndarray (before, segment)
        The logit at the corner where it is lowest.
    rise : ndarray (2, before, segment)
        By how much it rises along the previous signal's side, and along the own one's.
    falls : bool
        Whether a higher previous signal lowers it.
    point : ndarray of bool (before, segment)
        Both are atoms.
    """

    low: np.ndarray
    rise: np.ndarray
    falls: bool
    point: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """The logit in the middle of each cell."""
        return self.low + 0.5 * self.rise.sum(axis=0)


@dataclass(frozen=True)
class Cut:
    """What one point's thresholds defer of each cell of a stage (before, segment).

    Attributes
    ----------
    deferred : share of the cell
    leans : that share times how far below its segment's middle it lies, in units of the segment
    cells : indices of the cells that are cut (2, cut)
    centre : where their accepted parts have their middle, as share of each side: previous, own (2, cut)
    """

    deferred: np.ndarray
    leans: np.ndarray
    cells: tuple[np.ndarray, ...]
    centre: np.ndarray


def build_cells(draws: Draws, history: History, stage: int) -> Cells:
    """The rule of one stage over its cells."""
    margin = draws.margins[stage]
    own = np.stack([history[stage].own(edge, margin.is_atom) for edge in (margin.low, margin.high)])
    before, atom, falls = np.zeros((2, 1)), np.ones(1, dtype=bool), False
    if stage > 0:
        curve, last = history[stage], draws.margins[stage - 1]
        ends = [history[stage - 1].scaling.standardise(edge) for edge in (last.low, last.high)]
        before, atom = curve.previous_slope * np.stack(ends), last.is_atom
        falls = curve.previous_slope < 0.0
        before = np.sort(before, axis=0)
    low = before[0][:, None] + own[0]
    rise = np.stack(np.broadcast_arrays((before[1] - before[0])[:, None], own[1] - own[0]))
    return Cells(low, rise, falls, atom[:, None] & margin.is_atom)


def to_logit(threshold: np.ndarray) -> np.ndarray:
    """Thresholds on P(correct) as logits; at 0 and below accept all, at 1 and above none."""
    p = np.clip(threshold, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-p)


def to_threshold(level: np.ndarray) -> np.ndarray:
    """Undo `to_logit`, a hair below, so that an atom at this level is accepted wherever it is computed."""
    return np.where(np.isfinite(level), (1.0 - _CLEAR) / (1.0 + np.exp(-level)), level)


def deferred_share(cells: Cells, level: np.ndarray) -> np.ndarray:
    """Share of each cell that levels on the logit defer (level, before, segment)."""
    return _moments(cells, level)[0]


def _moments(cells: Cells, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deferred area of each unit square, and its moments about the two sides (level, before, segment).

    The square is a quadrant with its upper, right and outer parts taken off; the line cuts a triangle of each.
    """
    a = np.maximum(cells.rise[0], _FLAT * cells.rise[1])
    b = np.maximum(cells.rise[1], _FLAT * cells.rise[0])
    flat = a + b == 0.0
    a, b = np.where(flat, 1.0, a), np.where(flat, 1.0, b)
    # the corner moves as the sides are stretched, so that the middle stays
    low = cells.middle - 0.5 * (a + b)
    h = np.clip(level[:, None, None] - low, 0.0, a + b)
    area, first, second = np.zeros((3, *h.shape))
    for right, up in ((0, 0), (1, 0), (0, 1), (1, 1)):
        side = np.maximum(h - right * a - up * b, 0.0)
        triangle = (1 - 2 * right) * (1 - 2 * up) * side**2 / (2.0 * a * b)
        area = area + triangle
        first = first + triangle * (right + side / (3.0 * a))
        second = second + triangle * (up + side / (3.0 * b))
    area = np.clip(area, 0.0, 1.0)
    step = level[:, None, None] > cells.low
    # P(correct) of an atom and the threshold that was put a hair below it are told apart as when they are applied
    area = np.where(flat, step, area)
    return area, np.where(flat, 0.5 * step, first), np.where(flat, 0.5 * step, second)


def cut_cells(cells: Cells, level: np.ndarray) -> list[Cut]:
    """What levels on the logit (point,) make of the cells of a stage."""
    area, first, second = _moments(cells, level)
    if cells.falls:
        first = area - first
    out = []
    for share, before, own in zip(area, first, second, strict=True):
        cut = np.nonzero((share > 1e-9) & (share < 1.0 - 1e-9))
        rest = 1.0 - share[cut]
        centre = np.clip(np.stack([(0.5 - before[cut]) / rest, (0.5 - own[cut]) / rest]), 0.0, 1.0)
        out.append(Cut(share, 0.5 * share - own, cut, centre))
    return out


def forward(kernel: Kernel, history: History, thresholds: np.ndarray) -> Outcome:
    """What comes of thresholds on P(correct) (point, stage) under each draw."""
    draws, levels = kernel.draws, to_logit(thresholds)
    n_points, n_stages = thresholds.shape
    cuts = [cut_cells(build_cells(draws, history, j), levels[:, j]) for j in range(n_stages - 1)]
    gains = [_gains(draws, j, cuts[j]) for j in range(n_stages - 1)]
    spans = [_spans(kernel, j, len(draws.margins[j].low)) for j in range(n_stages - 1)]
    error = np.empty((draws.n, n_points))
    reach = np.empty((draws.n, n_points, n_stages))
    for point in range(n_points):
        arriving = np.ones((draws.n, 1))  # per unit of the previous segment's mass
        right, running = np.zeros(draws.n), np.ones(draws.n)
        for j in range(n_stages - 1):
            reach[:, point, j] = running
            cut = cuts[j][point]
            n_before, n_own = cut.deferred.shape
            pair, pair_right = (x[:, :n_before, :n_own] for x in pair_masses(kernel, j))
            arriving = arriving[:, :n_before]
            right += np.matmul(arriving[:, None], pair_right * (1.0 - cut.deferred))[:, 0].sum(axis=1)
            deferred = np.maximum(np.matmul(arriving[:, None], pair * cut.deferred)[:, 0], 0.0)
            leans = np.zeros_like(deferred)
            if len(cut.cells[0]):
                before, own = cut.cells
                here, rest = arriving[:, before], 1.0 - cut.deferred[before, own]
                right += np.sum(here * pair_right[:, before, own] * rest * (gains[j][point] - 1.0), axis=1)
                to_own = np.eye(n_own)[own] * cut.leans[before, own][:, None]
                leans = (here * pair[:, before, own]) @ to_own
            arriving = _carry(kernel, j, deferred, leans * spans[j])
            running = deferred.sum(axis=1)
        reach[:, point, -1] = running
        right += np.matmul(arriving[:, None], pair_masses(kernel, n_stages - 1)[1])[:, 0].sum(axis=1)
        error[:, point] = 1.0 - right
    cost = np.einsum("dpj,dj->dp", reach, kernel.cost)
    latency = None if draws.latency is None else np.einsum("dpj,dj->dp", reach, draws.latency)
    return Outcome(error, cost, reach, None, latency)


def pair_masses(kernel: Kernel, stage: int) -> tuple[np.ndarray, np.ndarray]:
    """Mass of each cell of a stage, and the part of it that is right there (draw, before, segment)."""
    if stage == 0:
        mass = kernel.mass[:, :1]
        return mass, mass * kernel.correct[:, :1]
    pair = kernel.pair[stage - 1]
    if kernel.pair_right is not None:
        return pair, kernel.pair_right[stage - 1]
    return pair, pair * kernel.correct[:, stage, None]


def _spans(kernel: Kernel, stage: int, n: int) -> np.ndarray:
    """Mass of each segment over the distance in u between its neighbours' middles (draw, segment)."""
    mass = kernel.mass[:, stage, :n]
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    wide = np.concatenate([middle[:, :1], middle, middle[:, -1:]], axis=1)
    return mass / np.maximum(wide[:, 2:] - wide[:, :-2], 1e-300)


def _carry(kernel: Kernel, stage: int, deferred: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Deferred mass per unit of its segment's; the part that lies low in it goes on as its neighbours would.

    As `cascade._lean` does for half-lines: what follows is taken as linear in u across neighbouring segments, so
    some mass (step) is moved from the one above to the one below.
    """
    n = deferred.shape[1]
    if n > 1:
        deferred = deferred.copy()
        deferred[:, 1:] -= step[:, :-1]
        deferred[:, -1] -= step[:, -1]
        deferred[:, :-1] += step[:, 1:]
        deferred[:, 0] += step[:, 0]
    return np.pad(deferred, ((0, 0), (0, kernel.mass.shape[2] - n))) * kernel.inverse_mass(stage)


def _gains(draws: Draws, stage: int, cuts: list[Cut]) -> list[np.ndarray]:
    """How much more often the accepted part of a cut cell is right than the whole, point by point (draw, cut)."""
    before, own = (np.concatenate([cut.cells[side] for cut in cuts]) for side in (0, 1))
    centre = np.concatenate([cut.centre for cut in cuts], axis=1)

    def p_correct(at: np.ndarray) -> np.ndarray:
        previous = None if stage == 0 else _inside(draws.margins[stage - 1], before, at[0])
        return draws.p_correct(stage, _inside(draws.margins[stage], own, at[1]), previous)

    gain = p_correct(centre) / p_correct(np.full_like(centre, 0.5))
    return np.split(gain, np.cumsum([len(cut.cells[0]) for cut in cuts])[:-1], axis=1)


def _inside(margin: Margin, segment: np.ndarray, share: np.ndarray) -> np.ndarray:
    return margin.low[segment] + share * (margin.high - margin.low)[segment]


def forward_all(
    draws: Draws, history: History, thresholds: np.ndarray, kernels: list[Kernel] | None = None
) -> Outcome:
    """`forward` over all draws, block by block on all cores; ``kernels`` as for `cascade.forward_all`."""

    def run(block: slice) -> Outcome:
        return forward(build_kernel(draws.take(block)), history, thresholds)

    with ThreadPoolExecutor(n_cores()) as pool:
        if kernels is None:
            parts = list(pool.map(run, blocks(draws.n)))
        else:
            parts = list(pool.map(lambda kernel: forward(kernel, history, thresholds), kernels))
    return Outcome._make(None if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True))


def outcome_of_history(draws: Draws, thresholds: Any, factorisation: str = "exact") -> Outcome:
    """`forward_all` of thresholds in any form that brings its curves along: what `evaluate` asks for.

    Raises
    ------
    CascadeError
        For thresholds that cannot be, of some of the fit's stages only, or under another factorisation.
    """
    if draws.whole is not None:
        raise CascadeError(
            f"these thresholds decide by history on the stages {draws.stages}, but the fit has "
            f"{draws.whole.stages}; fit the log with these stages only: correctness depends on the one run before."
        )
    check_factorisation(factorisation, draws)
    if factorisation != "exact":
        raise CascadeError(
            f"factorisation={factorisation!r} does not cover decisions by history; use factorisation='exact'."
        )
    rules = read_rules(thresholds, draws.stages, draws.kind)
    assert rules.history is not None
    return forward_all(draws, rules.history, rules.thresholds)
