"""The copula of one link under posterior draws: one family, and one tau for each draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescascade.model.copulas.family import Family


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

    def hfunc1(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """P(V <= v | U = u)."""
        return self.family.hfunc1(u, v, self._tau(u, v))

    def hinv1(self, p: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Solve hfunc1(u, v) = p for v."""
        return self.family.hinv1(p, u, self._tau(p, u))

    def _tau(self, *args: np.ndarray) -> np.ndarray:
        """Tau with an axis for each of the arguments' axes after the draws'."""
        return self.tau.reshape((-1, *(1,) * (max(a.ndim for a in args) - 1)))
