"""The copula of one link under posterior draws, whose family may differ from draw to draw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.copulas import Family, get_family


@dataclass(frozen=True)
class Link:
    """Copula of a pair of stages, draw by draw; arguments broadcast to (draw, ...).

    Attributes
    ----------
    families : tuple of Family
    which : ndarray of int (draw,)
        Which of the families each draw has.
    tau : ndarray (draw,)
    """

    families: tuple[Family, ...]
    which: np.ndarray
    tau: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names of the families that occur."""
        return [self.families[i].name for i in np.unique(self.which)]

    def pdf(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Density c(u, v)."""
        return self._each("pdf", u, v)

    def cdf(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """C(u, v)."""
        return self._each("cdf", u, v)

    def hfunc1(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """P(V <= v | U = u)."""
        return self._each("hfunc1", u, v)

    def hinv1(self, p: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Solve hfunc1(u, v) = p for v."""
        return self._each("hinv1", p, u)

    def _each(self, method: str, *args: np.ndarray) -> np.ndarray:
        args = tuple(np.asarray(a, dtype=float) for a in args)
        tau = self.tau.reshape((-1, *(1,) * (max(a.ndim for a in args) - 1)))
        found = np.unique(self.which)
        if len(found) == 1:
            return getattr(self.families[found[0]], method)(*args, tau)
        out = np.empty(np.broadcast_shapes(tau.shape, *(a.shape for a in args)))
        for i in found:
            mine = self.which == i
            part = [a[mine] if len(a) == len(mine) else a for a in args]
            out[mine] = getattr(self.families[i], method)(*part, tau[mine])
        return out


def families_of(names: list[str] | tuple[str, ...]) -> tuple[tuple[Family, ...], np.ndarray]:
    """Distinct families, and which of them each link has (1, link), from one name for each link."""
    distinct = list(dict.fromkeys(names))
    return tuple(map(get_family, distinct)), np.array([[distinct.index(name) for name in names]])


def family_table(names: list[str], which: Any) -> xr.Dataset:
    """What a fit keeps of its families: numbers over (link,) or (chain, draw, link), names in an attribute."""
    which = np.asarray(which, dtype=np.int8)
    dims = ("link",) if which.ndim == 1 else ("chain", "draw", "link")
    return xr.Dataset({"family": (dims, which)}, attrs={"families": json.dumps(names)})


def read_families(fit: xr.DataTree) -> tuple[tuple[Family, ...], np.ndarray]:
    """Undo `family_table`: the families, and which of them each draw's links have (draw or 1, link)."""
    table = fit["copula"].to_dataset()
    names = json.loads(table.attrs["families"])
    which = table["family"]
    if "draw" in which.dims:
        which = which.transpose("chain", "draw", "link")
    return tuple(map(get_family, names)), which.values.reshape(-1, which.sizes["link"]).astype(int)
