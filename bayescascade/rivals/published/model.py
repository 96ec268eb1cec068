"""What the published method believes: margins, pairs of stages, and tables of its factorised expectations.

Everything is on the calibrated scale φ. A stage's threshold is a *position*: in [0, 1] the share of the smooth
part that lies below it, so that 0 defers the atom at the training minimum and 1 all but the atom at the maximum.
From -1, where every query is accepted, to 0 a growing share of the lower atom is deferred, and from 1 to 2,
where none is accepted, a growing share of the upper one. Error and cost are continuous on [-1, 2].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import kendalltau

from bayescascade.model.copulas.family import get_family
from bayescascade.rivals.base import LogArrays
from bayescascade.rivals.logistic import fit_logistic
from bayescascade.rivals.published.beta_mixture import BetaMixture, fit_beta, fit_mixture
from bayescascade.signals.kinds import check_kind, to_confidence, to_signal

LOW, SMOOTH, HIGH = 0, 1, 2  # cells: training minimum, between, training maximum
ACCEPT_ALL, DEFER_ALL = -1.0, 2.0
_N_NODES = 401
_SLOPE_MIN, _SLOPE_MAX = (
    1e-3,
    50.0,
)  # of standardised signals: where the labels are separated, the curve is a step all the same
_EDGE = 1e-6


def finite_signal(confidence: np.ndarray, kind: str, low: float | None, high: float | None) -> np.ndarray:
    """Signals of one stage; those that the formula makes infinite become the finite training extremes.

    ``low`` and ``high`` are these extremes as `extremes` finds them, None where training has no finite value.
    """
    scale, signal = check_kind(kind), to_signal(confidence, kind)
    if low is not None and high is not None:
        signal = np.where(confidence >= scale.upper, high, np.where(confidence <= scale.lower, low, signal))
    return signal


def extremes(confidence: np.ndarray, kind: str) -> tuple[float, float] | tuple[None, None]:
    """Smallest and largest finite signal of one stage in training."""
    scale = check_kind(kind)
    inner = confidence[(confidence > scale.lower) & (confidence < scale.upper)]
    if not len(inner):
        return None, None
    signal = to_signal(inner, kind)
    return float(signal.min()), float(signal.max())


def calibrator(signal: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Intercept and slope of P(correct) by logistic regression of one stage, without penalty.

    The slope stays just above 0, for a falling curve has no threshold on the raw scale; and below a bound that
    only separated labels reach.
    """
    bounds = (_SLOPE_MIN, _SLOPE_MAX)
    return fit_logistic(signal, 1.0 - wrong, slope_bounds=bounds, intercept_bound=_SLOPE_MAX)


@dataclass(frozen=True)
class StageModel:
    """One stage: its calibrator, and the margin of φ in training.

    Attributes
    ----------
    kind : str
        Of confidence.
    intercept, slope : float
        Of the calibrator, by signal.
    ends : tuple of float
        Smallest and largest signal in training.
    masses : ndarray (3,)
        Shares of the lower atom, the smooth part and the upper atom.
    mixture : BetaMixture
        Of the smooth part, with φ scaled to [0, 1] between its values at the ends.
    cell : ndarray (query,)
        0, 1 or 2: which of the three a training query is in.
    z : ndarray (query,)
        φ scaled to [0, 1].
    """

    kind: str
    intercept: float
    slope: float
    ends: tuple[float, float]
    masses: np.ndarray
    mixture: BetaMixture
    cell: np.ndarray
    z: np.ndarray

    @property
    def range(self) -> tuple[float, float]:
        """φ at the two ends."""
        low, high = (float(expit(self.intercept + self.slope * end)) for end in self.ends)
        return low, high

    def threshold(self, position: float) -> float:
        """The raw confidence of a position."""
        if position < 0.0:
            return -np.inf
        if position > 1.0 or (position == 1.0 and self.masses[HIGH] == 0.0):
            return np.inf
        low, high = self.range
        z = float(self.mixture.quantile(np.array([position]))[0])
        phi = low + z * (high - low)
        with np.errstate(divide="ignore"):
            signal = (np.log(phi) - np.log1p(-phi) - self.intercept) / self.slope if self.slope > 0.0 else np.inf
        # above the lower atom, and not above the upper one, whatever rounding says
        signal = min(max(signal, np.nextafter(self.ends[0], np.inf)), self.ends[1])
        return float(to_confidence(signal, self.kind))


def fit_stage(confidence: np.ndarray, wrong: np.ndarray, kind: str) -> StageModel:
    """Learn one stage from its confidences and wrong answers (query,)."""
    signal = finite_signal(confidence, kind, *extremes(confidence, kind))
    intercept, slope = calibrator(signal, wrong)
    ends = float(signal.min()), float(signal.max())
    phi = expit(intercept + slope * signal)
    span = phi.max() - phi.min()
    if span <= 0.0:  # nothing to tell queries apart: one atom, all accepted or none
        z, cell = np.ones(len(phi)), np.full(len(phi), HIGH)
    else:
        z = (phi - phi.min()) / span
        cell = np.where(z <= 0.0, LOW, np.where(z >= 1.0, HIGH, SMOOTH))
    masses = np.bincount(cell, minlength=3) / len(cell)
    return StageModel(kind, intercept, slope, ends, masses, fit_mixture(z[cell == SMOOTH]), cell, z)


@dataclass(frozen=True)
class Tables:
    """What the stage before and a stage do together, on nodes of both positions.

    Attributes
    ----------
    nodes : ndarray (node,)
        Positions: -1, then [0, 1], then 2.
    below : ndarray (stage, node, node)
        P(the stage before is below its position, this one below its own).
    right : ndarray (stage, node, node)
        P(the stage before is below, this one not, and its answer is right).

    For the first stage there is none before: its rows are all alike.
    """

    nodes: np.ndarray
    below: np.ndarray
    right: np.ndarray


def fit_tables(stages: list[StageModel], n_nodes: int = _N_NODES) -> Tables:
    """Tables of the first stage and of all links."""
    # finer towards the ends, where tails of a copula and poles of a beta density are
    inner = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0.0, 1.0, n_nodes))
    nodes = np.concatenate([[ACCEPT_ALL], inner, [DEFER_ALL]])
    below = np.empty((len(stages), len(nodes), len(nodes)))
    right = np.zeros_like(below)
    for j, stage in enumerate(stages):
        if j == 0:
            below[0] = _steps(nodes, stage.masses, np.clip(nodes, 0.0, 1.0))
        else:
            below[j] = _pair(stages[j - 1], stage, nodes)
        low, high = stage.range
        phi = low + (high - low) * stage.mixture.quantile(np.clip(nodes, 0.0, 1.0))
        gain = np.diff(below[j], axis=1) * (0.5 * (phi[1:] + phi[:-1]))
        right[j, :, :-1] = np.cumsum(gain[:, ::-1], axis=1)[:, ::-1]
    return Tables(nodes, below, right)


def _steps(nodes: np.ndarray, masses: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """P(below each node) of two atoms and a smooth part."""
    return masses[LOW] * (nodes >= 0.0) + masses[SMOOTH] * smooth + masses[HIGH] * (nodes == DEFER_ALL)


def _pair(before: StageModel, stage: StageModel, nodes: np.ndarray) -> np.ndarray:
    """P(below, below) of a link on all pairs of nodes (node, node)."""
    cells = np.zeros((3, 3))
    np.add.at(cells, (before.cell, stage.cell), 1.0 / len(stage.cell))
    both = (before.cell == SMOOTH) & (stage.cell == SMOOTH)
    inner = np.clip(nodes, 0.0, 1.0)
    # P(below | the cell), for an atom and for a smooth part beside an atom
    atom = {LOW: (nodes >= 0.0).astype(float), HIGH: (nodes == DEFER_ALL).astype(float)}
    out = np.zeros((len(nodes), len(nodes)))
    for i in (LOW, HIGH):
        for j in (LOW, HIGH):
            out += cells[i, j] * np.outer(atom[i], atom[j])
        beside = _beside(stage, (before.cell == i) & (stage.cell == SMOOTH), inner)
        out += cells[i, SMOOTH] * np.outer(atom[i], beside)
        beside = _beside(before, (before.cell == SMOOTH) & (stage.cell == i), inner)
        out += cells[SMOOTH, i] * np.outer(beside, atom[i])
    return out + cells[SMOOTH, SMOOTH] * smooth_cdf(before.z[both], stage.z[both], inner)


def _beside(stage: StageModel, chosen: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """One beta distribution of a smooth part whose neighbour is on an atom; its whole margin for lack of data."""
    z = stage.z[chosen]
    if len(np.unique(z)) < 3:
        return inner
    shapes = fit_beta(np.clip(z, _EDGE, 1.0 - _EDGE))
    return BetaMixture(1.0, (shapes, shapes)).cdf(stage.mixture.quantile(inner))


def smooth_cdf(x: np.ndarray, y: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """C(u, v) on all pairs of ``inner``: Gumbel's copula of the data's Kendall tau, or independence."""
    tau = pair_tau(x, y)
    u, v = inner[:, None], inner[None]
    if tau <= 0.0:
        return u * v
    found = get_family("gumbel").cdf(u, v, min(tau, 0.99))
    # exact at the edges, where the formula keeps its arguments away from 0
    return np.where((u <= 0.0) | (v <= 0.0), 0.0, np.where(u >= 1.0, v, np.where(v >= 1.0, u, found)))


def pair_tau(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau; 0 where there is none."""
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return 0.0
    return float(kendalltau(x, y).statistic)


def learn(known: LogArrays) -> list[StageModel]:
    """All stages of a training log."""
    columns = zip(known.confidence.T, known.wrong.T, strict=True)
    return [fit_stage(confidence, wrong, known.kind) for confidence, wrong in columns]
