"""Models of a margin: what is unknown about the mass of each segment, and with which prior.

Every model divides a stage's signals into *cells*, the leaves of a tree or the segments themselves, and says
how the cells' masses follow from the splits of a tree. Within a cell F is linear between the observed quantiles.
So the densities of all models stand on the same scale, and fits that differ in the margin can be compared.

Arrays run over columns, the stages of each task in turn. Formulas take parameters with any leading axes, and serve
PyTensor and NumPy alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade.errors import bad_value
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.margins.segments import Margin
from bayescascade.model.margins.tree import N_LEAVES, N_SPLITS, tree_paths

N_KERNELS = 8  # of the Bernstein polynomial
_N_GROUPS = 3  # bottom atom, top atom, atoms between
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class MarginModel:
    """One way to model a margin.

    Attributes
    ----------
    name : str
    by : str
        What the cells are: ``"leaf"`` or ``"segment"``.
    splits : int
        Splits of the tree of components.
    arrays : callable
        ``(margins) -> arrays`` that the model reads.
    mass : callable
        ``(split, data, xp) -> masses`` (..., column, cell) given the shares of the splits (..., column, split).
    groups : callable
        ``(margin) -> number`` of the group of each segment; within a group the shares are as observed.
    """

    name: str
    by: str
    splits: int
    arrays: Callable[[list[Margin]], Arrays]
    mass: Callable[[Any, dict[str, Any], Any], Any]
    groups: Callable[[Margin], np.ndarray]

    def cell_used(self, margins: list[Margin]) -> np.ndarray:
        """1.0 for each cell that exists (column, cell)."""
        if self.by == "leaf":
            return leaf_used(margins)
        n = np.array([len(m.low) for m in margins])
        return (np.arange(n.max()) < n[:, None]).astype(float)

    def split_used(self, margins: list[Margin]) -> np.ndarray:
        """Whether a split divides anything (column, split); one that does not is as its prior has it."""
        return (self.arrays(margins)["tree"] > 0).any(axis=(0, 2))

    def segment_masses(
        self,
        split: np.ndarray,
        margins: list[Margin],
        rng: np.random.Generator,
        gammas: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw the mass of every segment (draw, column, segment) given the splits (draw, column, split).

        Within a group of segments the shares follow a Dirichlet with the segments' counts: the Bayesian bootstrap
        (Rubin 1981, doi:10.1214/aos/1176345338) of what the model is too coarse to see. The copula is not
        consulted at that scale. ``gammas`` (draw, column, segment) are gamma variates of these counts, where
        they were drawn already. Stages with fewer segments are padded with zeros.
        """
        cells = np.asarray(self.mass(split, self.arrays(margins), NUMPY)) * self.cell_used(margins)
        mass = np.zeros((len(cells), len(margins), max(len(m.low) for m in margins)))
        for j, margin in enumerate(margins):
            group = self.groups(margin)
            member = np.eye(group.max() + 1)[group]  # (segment, group)
            cell = margin.leaf if self.by == "leaf" else np.arange(len(group))
            # every cell lies in one group
            first = np.unique(cell, return_index=True)[1]
            weight = cells[:, j, cell[first]] @ member[first]
            if gammas is None:
                gamma = rng.standard_gamma(np.broadcast_to(margin.count, (len(cells), len(group))))
            else:
                gamma = gammas[:, j, : len(group)]
            share = np.where(member.sum(axis=0)[group] > 1, gamma / (gamma @ member)[:, group], 1.0)
            mass[:, j, : len(group)] = share * weight[:, group]
        return mass / mass.sum(axis=2, keepdims=True)


def _tree_weights(split: Any, tree: Any, xp: Any) -> Any:
    """Weights of a tree's components (..., column, component) from its splits (..., column, split)."""
    left = (xp.log(split)[..., None, :] * tree[0]).sum(-1)
    return xp.exp(left + (xp.log(1.0 - split)[..., None, :] * tree[1]).sum(-1))


def add_splits(data: dict[str, Any], dims: tuple[str, ...]) -> Any:
    """Shares of the splits with their beta priors (dims, split), inside a `pm.Model`; ``dims`` are a column's."""
    import pymc as pm

    shapes = data["split_prior"]
    sizes = [len(pm.modelcontext(None).coords[dim]) for dim in dims]
    first, second = (shapes[i].reshape((*sizes, shapes.shape[-1])) if len(dims) > 1 else shapes[i] for i in (0, 1))
    return pm.Beta("margin_split", first, second, dims=(*dims, "split"))


# --- finite Polya tree ----------------------------------------------------------------------------------------


def _polya_arrays(margins: list[Margin]) -> Arrays:
    return {"tree": np.stack(masked_paths(margins)), "split_prior": split_prior(margins)}


def _polya_mass(split: Any, data: dict[str, Any], xp: Any) -> Any:
    return _tree_weights(split, data["tree"], xp)


# --- groups of atoms beside a continuous part -----------------------------------------------------------------


def _group_of(margin: Margin) -> np.ndarray:
    """0 and 1 for an atom at the bottom and at the top, 2 for the atoms between, 3 for intervals (segment,)."""
    out = np.where(margin.is_atom, 2, 3)
    if margin.is_atom[0]:
        out[0] = 0
    if margin.is_atom[-1] and len(out) > 1:
        out[-1] = 1
    return out


def _lump_inner_atoms(margin: Margin) -> np.ndarray:
    return np.where(_group_of(margin) == 2, 0, np.arange(1, len(margin.low) + 1))


def _sticks(used: np.ndarray) -> Arrays:
    """Stick breaking over the used components (column, component), as a tree; a uniform Dirichlet prior."""
    n = used.shape[1]
    later = np.cumsum(used[:, ::-1], axis=1)[:, ::-1] - used  # used components after each one
    alive = (used > 0) & (later > 0)  # splits that divide something
    left = np.eye(n)[None, :, : n - 1] * alive[:, None, : n - 1]
    before = np.tril(np.ones((n, n)), -1)[None, :, : n - 1]  # component, split: passed by
    right = before * alive[:, None, : n - 1]
    prior = np.stack([np.ones((len(used), n - 1)), np.maximum(later[:, : n - 1], 1.0)])
    return {"tree": np.stack([left, right]), "split_prior": prior}


def _atom_basis(margins: list[Margin]) -> np.ndarray:
    """Shares of each group of atoms that its cells hold (column, group, cell)."""
    rows = []
    for margin in margins:
        group = _group_of(margin)
        share = np.stack([np.where(group == g, margin.count, 0.0) for g in range(_N_GROUPS)])
        total = share.sum(axis=1, keepdims=True)
        rows.append(safe_divide(share, total))
    n = max(row.shape[1] for row in rows)
    return np.stack([np.pad(row, ((0, 0), (0, n - row.shape[1]))) for row in rows])


def _parts_used(margins: list[Margin]) -> np.ndarray:
    """Which components a column has: three groups of atoms, and the kernels of the continuous part."""
    rows = []
    for margin in margins:
        group = _group_of(margin)
        has = [float(np.any(group == g)) for g in range(_N_GROUPS + 1)]
        rows.append(np.array([*has[:_N_GROUPS], *([has[_N_GROUPS]] * N_KERNELS)]))
    return np.stack(rows)


# --- Bernstein-Dirichlet --------------------------------------------------------------------------------------


def _bernstein_arrays(margins: list[Margin]) -> Arrays:
    from scipy.stats import beta

    atoms = _atom_basis(margins)
    basis = np.zeros((len(margins), _N_GROUPS + N_KERNELS, atoms.shape[2]))
    basis[:, :_N_GROUPS] = atoms
    k = np.arange(1, N_KERNELS + 1)[:, None]
    for j, margin in enumerate(margins):
        free = ~margin.is_atom
        if not free.any():
            continue
        low, high = (_base_cdf(margin, x[free]) for x in (margin.low, margin.high))
        mass = beta.cdf(high, k, N_KERNELS + 1 - k) - beta.cdf(low, k, N_KERNELS + 1 - k)
        basis[j, _N_GROUPS:, np.flatnonzero(free)] = (mass / mass.sum(axis=1, keepdims=True)).T
    return {"basis": basis, **_sticks(_parts_used(margins))}


def _base_cdf(margin: Margin, signal: np.ndarray) -> np.ndarray:
    """A logistic distribution with the mean and spread of the intervals, cut to their range."""
    from scipy.special import expit

    free = ~margin.is_atom
    middle, weight = 0.5 * (margin.low + margin.high)[free], margin.count[free] / margin.count[free].sum()
    centre = weight @ middle
    scale = max(np.sqrt(weight @ (middle - centre) ** 2) * np.sqrt(3.0) / np.pi, 1e-9)
    ends = expit((np.array([margin.low[free].min(), margin.high[free].max()]) - centre) / scale)
    return (expit((signal - centre) / scale) - ends[0]) / (ends[1] - ends[0])


def _bernstein_mass(split: Any, data: dict[str, Any], xp: Any) -> Any:
    weight = _tree_weights(split, data["tree"], xp)
    return (weight[..., :, None] * data["basis"]).sum(-2)


MARGIN_MODELS: dict[str, MarginModel] = {
    model.name: model
    for model in (
        MarginModel(
            name="polya_tree",
            by="leaf",
            splits=N_SPLITS,
            arrays=_polya_arrays,
            mass=_polya_mass,
            groups=lambda margin: margin.leaf,
        ),
        MarginModel(
            name="bernstein",
            by="segment",
            splits=_N_GROUPS + N_KERNELS - 1,
            arrays=_bernstein_arrays,
            mass=_bernstein_mass,
            groups=_lump_inner_atoms,
        ),
    )
}


def get_margin_model(name: str) -> MarginModel:
    """Return the margin model called ``name``.

    Raises
    ------
    CascadeError
        For a name that is not in `MARGIN_MODELS`.
    """
    if name not in MARGIN_MODELS:
        raise bad_value("margin", name, f"choose one of {', '.join(map(repr, MARGIN_MODELS))}", "is not known")
    return MARGIN_MODELS[name]


def masked_paths(margins: list[Margin]) -> tuple[np.ndarray, np.ndarray]:
    """`tree_paths` for each stage with the unused splits taken out (stage, leaf, split)."""
    left, right = tree_paths()
    used = np.stack([m.split_used for m in margins])[:, None, :]
    return left * used, right * used


def split_prior(margins: list[Margin]) -> np.ndarray:
    """Shapes of each split's beta prior (2, stage, split): worth two queries, centred on the observed shares."""
    left, right = tree_paths()
    out = np.ones((2, len(margins), N_SPLITS))
    for j, margin in enumerate(margins):
        mass = np.bincount(margin.leaf, weights=margin.count, minlength=N_LEAVES)
        share = safe_divide(mass @ left, mass @ (left + right), 0.5, where=margin.split_used)
        # shapes below one half pile up at the ends, where the sampler is slow and nothing is known
        out[:, j] = np.maximum(2.0 * np.stack([share, 1.0 - share]), 0.5)
    return out


def leaf_used(margins: list[Margin]) -> np.ndarray:
    """1.0 for each leaf that holds a segment (stage, leaf)."""
    return np.stack([np.isin(np.arange(N_LEAVES), m.leaf).astype(float) for m in margins])
