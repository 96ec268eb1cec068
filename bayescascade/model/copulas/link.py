"""The copula of one link under posterior draws: one family, and one tau for each draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescascade.model.copulas import gaussian
from bayescascade.model.copulas.family import Family
from bayescascade.model.copulas.namespace import NUMPY


@dataclass(frozen=True)
class Link:
    """Copula of a pair of stages, draw by draw; arguments broadcast to (draw, ...).

    Attributes
    ----------
    family : Family
    tau : ndarray (draw,)
        Kendall's tau.
    """

    family: Family
    tau: np.ndarray

    def pdf(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Density c(u, v)."""
        return self.family.pdf(u, v, self._tau(u, v))

    def cdf(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """C(u, v)."""
        return self.family.cdf(u, v, self._tau(u, v))

    def cell_masses(
        self, left: np.ndarray, right: np.ndarray, scores: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """P(U in cell, V in cell) between edges from 0 to 1 (draw, edge) each (draw, cell, cell).

        ``scores`` are the edges' normal scores, where they are at hand.
        """
        if self.family.name == "gaussian":
            z, w = scores or (gaussian.normal_score(left, NUMPY), gaussian.normal_score(right, NUMPY))
            if (masses := gaussian.cell_masses((left, z), (right, w), self.tau)) is not None:
                return masses
        c = np.zeros((len(left), left.shape[1], right.shape[1]))
        # exact at the ends, where the formula would lose the last digits
        c[:, -1, :], c[:, :, -1] = right, left
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            c[:, 1:-1, 1:-1] = self.cdf(left[:, 1:-1, None], right[:, None, 1:-1])
        return np.maximum(np.diff(np.diff(c, axis=1), axis=2), 0.0)

    def hfunc1(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """P(V <= v | U = u)."""
        return self.family.hfunc1(u, v, self._tau(u, v))

    def hinv1(self, p: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Solve hfunc1(u, v) = p for v."""
        return self.family.hinv1(p, u, self._tau(p, u))

    def _tau(self, *args: np.ndarray) -> np.ndarray:
        """Tau with an axis for each of the arguments' axes after the draws'."""
        return self.tau.reshape((-1, *(1,) * (max(a.ndim for a in args) - 1)))
