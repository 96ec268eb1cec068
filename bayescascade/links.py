"""The copula of one link under posterior draws: one family, and one tau for each draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescascade.copulas import Family, get_family


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


def family_table(names: Sequence[str]) -> xr.Dataset:
    """What a fit keeps of its families, one name for each link: numbers over (link,), names in an attribute."""
    distinct = list(dict.fromkeys(names))
    which = np.array([distinct.index(name) for name in names], dtype=np.int8)
    return xr.Dataset({"family": ("link", which)}, attrs={"families": json.dumps(distinct)})


def read_families(fit: xr.DataTree) -> list[Family]:
    """Undo `family_table`: the family of each link."""
    table = fit["copula"].to_dataset()
    names = json.loads(table.attrs["families"])
    return [get_family(names[int(i)]) for i in table["family"].values]
