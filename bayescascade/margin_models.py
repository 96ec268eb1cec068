"""Models of a margin: what is unknown about the mass of each segment, and with which prior.

Every model divides a stage's signals into *cells*, the leaves of a tree or the segments themselves, and says
how the cells' masses follow from its parameters. Within a cell F is linear between the observed quantiles. So the
densities of all models stand on the same scale, and fits that differ in the margin can be compared.

Arrays run over columns, the stages of each task in turn. Formulas take parameters with any leading axes, and serve
PyTensor and NumPy alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescascade._arrays import safe_divide
from bayescascade.copulas import NUMPY
from bayescascade.errors import CascadeError
from bayescascade.margins import N_SPLITS, Margin, leaf_used, masked_paths, split_prior

N_KERNELS = 8  # of the Bernstein polynomial
_N_GROUPS = 3  # bottom atom, top atom, atoms between
_MASS_FLOOR = 1e-18
_EDGE = 1e-12
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class MarginModel:
    """One way to model a margin.

    Attributes
    ----------
    name : str
    by : str
        What the cells are: ``"leaf"`` or ``"segment"``.
    generative : bool
        Whether the prior is one of distributions, from which signals could be drawn.
    splits : int
        Splits of the tree of components; 0 where there is no tree.
    variables : dict
        Name and trailing axis of each free variable.
    arrays : callable
        ``(margins) -> arrays`` that the model reads.
    prior : callable
        ``(data, dims) -> variables``, called inside a `pm.Model`; ``dims`` are those of a column.
    mass : callable
        ``(variables, data, xp) -> masses`` (..., column, cell).
    groups : callable
        ``(margin) -> number`` of the group of each segment; within a group the shares are as observed.
    """

    name: str
    by: str
    generative: bool
    splits: int
    variables: dict[str, tuple[str, ...]]
    arrays: Callable[[list[Margin]], Arrays]
    prior: Callable[[dict[str, Any], tuple[str, ...]], dict[str, Any]]
    mass: Callable[[dict[str, Any], dict[str, Any], Any], Any]
    groups: Callable[[Margin], np.ndarray]

    def cell_used(self, margins: list[Margin]) -> np.ndarray:
        """1.0 for each cell that exists (column, cell)."""
        if self.by == "leaf":
            return leaf_used(margins)
        n = np.array([len(m.low) for m in margins])
        return (np.arange(n.max()) < n[:, None]).astype(float)

    def segment_masses(
        self, values: Arrays, margins: list[Margin], n_draws: int, rng: np.random.Generator | None
    ) -> np.ndarray:
        """Draw the mass of every segment (draw, column, segment) given the variables (draw, column, ...).

        Within a group of segments the shares follow a Dirichlet with the segments' counts: the Bayesian bootstrap
        (Rubin 1981, doi:10.1214/aos/1176345338) of what the model is too coarse to see. The copula is not
        consulted at that scale. Without ``rng`` the shares are those of the counts. Stages with fewer segments are
        padded with zeros.
        """
        cells = np.asarray(self.mass(values, self.arrays(margins), NUMPY)) * self.cell_used(margins)
        cells = np.broadcast_to(cells, (n_draws, *cells.shape[-2:]))
        mass = np.zeros((n_draws, len(margins), max(len(m.low) for m in margins)))
        for j, margin in enumerate(margins):
            group = self.groups(margin)
            member = np.eye(group.max() + 1)[group]  # (segment, group)
            cell = margin.leaf if self.by == "leaf" else np.arange(len(group))
            # every cell lies in one group
            first = np.unique(cell, return_index=True)[1]
            weight = cells[:, j, cell[first]] @ member[first]
            shape = (n_draws, len(group))
            counts = np.broadcast_to(margin.count, shape)
            gamma = counts if rng is None else rng.standard_gamma(counts)
            share = np.where(member.sum(axis=0)[group] > 1, gamma / (gamma @ member)[:, group], 1.0)
            mass[:, j, : len(group)] = share * weight[:, group]
        return mass / mass.sum(axis=2, keepdims=True)


def _tree_weights(split: Any, tree: Any, xp: Any) -> Any:
    """Weights of a tree's components (..., column, component) from its splits (..., column, split)."""
    left = (xp.log(split)[..., None, :] * tree[0]).sum(-1)
    return xp.exp(left + (xp.log(1.0 - split)[..., None, :] * tree[1]).sum(-1))


def _split_prior(data: dict[str, Any], dims: tuple[str, ...]) -> dict[str, Any]:
    import pymc as pm

    shapes = data["split_prior"]
    if len(dims) > 1:
        return {"margin_split": pm.Beta("margin_split", *_unstacked(shapes, dims), dims=(*dims, "split"))}
    return {"margin_split": pm.Beta("margin_split", shapes[0], shapes[1], dims=(*dims, "split"))}


def _unstacked(shapes: Any, dims: tuple[str, ...]) -> tuple[Any, Any]:
    import pymc as pm

    sizes = [len(pm.modelcontext(None).coords[dim]) for dim in dims]
    return tuple(shapes[i].reshape((*sizes, shapes.shape[-1])) for i in (0, 1))  # type: ignore[return-value]


# --- finite Polya tree ----------------------------------------------------------------------------------------


def _polya_arrays(margins: list[Margin]) -> Arrays:
    return {"tree": np.stack(masked_paths(margins)), "split_prior": split_prior(margins)}


def _polya_mass(values: dict[str, Any], data: dict[str, Any], xp: Any) -> Any:
    return _tree_weights(values["margin_split"], data["tree"], xp)


# --- the observed shares --------------------------------------------------------------------------------------


def _padded(rows: list[np.ndarray], n: int | None = None) -> np.ndarray:
    n = n or max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, n - len(row))) for row in rows])


def _empirical_arrays(margins: list[Margin]) -> Arrays:
    return {"cell_share": _padded([m.count / m.count.sum() for m in margins])}


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


def _groups_used(margins: list[Margin], n_continuous: int) -> np.ndarray:
    """Which components a column has: three groups of atoms, and those of the continuous part."""
    rows = []
    for margin in margins:
        group = _group_of(margin)
        has = [float(np.any(group == g)) for g in range(_N_GROUPS + 1)]
        rows.append(np.array([*has[:_N_GROUPS], *([has[_N_GROUPS]] * n_continuous)]))
    return np.stack(rows)


# --- Bernstein-Dirichlet --------------------------------------------------------------------------------------


def _bernstein_arrays(margins: list[Margin]) -> Arrays:
    from scipy.stats import beta

    atoms = _atom_basis(margins)
    basis = np.zeros((len(margins), _N_GROUPS + N_KERNELS, atoms.shape[2]))
    basis[:, :_N_GROUPS] = atoms
    used = _groups_used(margins, N_KERNELS)
    k = np.arange(1, N_KERNELS + 1)[:, None]
    for j, margin in enumerate(margins):
        free = ~margin.is_atom
        if not free.any():
            continue
        low, high = (_base_cdf(margin, x[free]) for x in (margin.low, margin.high))
        mass = beta.cdf(high, k, N_KERNELS + 1 - k) - beta.cdf(low, k, N_KERNELS + 1 - k)
        basis[j, _N_GROUPS:, np.flatnonzero(free)] = (mass / mass.sum(axis=1, keepdims=True)).T
    return {"basis": basis, **_sticks(used)}


def _base_cdf(margin: Margin, signal: np.ndarray) -> np.ndarray:
    """A logistic distribution with the mean and spread of the intervals, cut to their range."""
    from scipy.special import expit

    free = ~margin.is_atom
    middle, weight = 0.5 * (margin.low + margin.high)[free], margin.count[free] / margin.count[free].sum()
    centre = weight @ middle
    scale = max(np.sqrt(weight @ (middle - centre) ** 2) * np.sqrt(3.0) / np.pi, 1e-9)
    ends = expit((np.array([margin.low[free].min(), margin.high[free].max()]) - centre) / scale)
    return (expit((signal - centre) / scale) - ends[0]) / (ends[1] - ends[0])


def _bernstein_mass(values: dict[str, Any], data: dict[str, Any], xp: Any) -> Any:
    weight = _tree_weights(values["margin_split"], data["tree"], xp)
    return (weight[..., :, None] * data["basis"]).sum(-2)


# --- mixture of two betas -------------------------------------------------------------------------------------


def _beta_arrays(margins: list[Margin]) -> Arrays:
    edges, rows = [], []
    for margin in margins:
        free = np.flatnonzero(~margin.is_atom)
        if not len(free):
            edges.append(np.array([0.5]))
            rows.append(np.zeros((1, len(margin.low))))
            continue
        least, most = margin.low[free].min(), margin.high[free].max()
        edge = np.unique(np.concatenate([margin.low[free], margin.high[free]]))
        difference = np.zeros((len(edge), len(margin.low)))
        difference[np.searchsorted(edge, margin.high[free]), free] = 1.0
        difference[np.searchsorted(edge, margin.low[free]), free] -= 1.0
        edges.append((edge - least) / (most - least))
        rows.append(difference)
    n_edges, n_cells = (max(row.shape[i] for row in rows) for i in (0, 1))
    return {
        "edge": np.stack([np.pad(e, (0, n_edges - len(e)), constant_values=0.5) for e in edges]),
        "edge_difference": np.stack(
            [np.pad(row, ((0, n_edges - row.shape[0]), (0, n_cells - row.shape[1]))) for row in rows]
        ),
        "atom_basis": _atom_basis(margins),
        **_sticks(_groups_used(margins, 1)),
    }


def _beta_prior(data: dict[str, Any], dims: tuple[str, ...]) -> dict[str, Any]:
    import pymc as pm

    # ordered means identify the two components
    return _split_prior(data, dims) | {
        "beta_share": pm.Beta("beta_share", 2.0, 2.0, dims=dims),
        "beta_low": pm.Normal("beta_low", -0.9, 0.7, dims=dims),
        "beta_gap": pm.LogNormal("beta_gap", np.log(1.8), 0.3, dims=dims),
        "beta_size": pm.LogNormal("beta_size", np.log(6.0), 0.5, dims=(*dims, "component")),
    }


def _beta_mass(values: dict[str, Any], data: dict[str, Any], xp: Any) -> Any:
    weight = _tree_weights(values["margin_split"], data["tree"], xp)
    atoms = (weight[..., :_N_GROUPS, None] * data["atom_basis"]).sum(-2)
    low = values["beta_low"]
    edge = data["edge"]
    # at the very ends the gradient of betainc is NaN
    clipped = xp.minimum(xp.maximum(edge, _EDGE), 1.0 - _EDGE)
    cdf: Any = 0.0
    share = values["beta_share"]
    for i, (part, centre) in enumerate(((share, low), (1.0 - share, low + values["beta_gap"]))):
        mean, size = 1.0 / (1.0 + xp.exp(-centre)), values["beta_size"][..., i]
        shape = (mean * size)[..., None], ((1.0 - mean) * size)[..., None]
        inner = xp.where(edge <= 0.0, 0.0, xp.where(edge >= 1.0, 1.0, _betainc(xp)(*shape, clipped)))
        cdf = cdf + part[..., None] * inner
    mass = (cdf[..., :, None] * data["edge_difference"]).sum(-2)
    total = xp.maximum(mass.sum(-1), _MASS_FLOOR)
    return atoms + weight[..., _N_GROUPS, None] * mass / total[..., None]


def _betainc(xp: Any) -> Any:
    if xp is NUMPY:
        from scipy.special import betainc

        return betainc
    import pytensor.tensor as pt

    return pt.betainc


MARGIN_MODELS: dict[str, MarginModel] = {
    model.name: model
    for model in (
        MarginModel(
            "polya_tree",
            "leaf",
            True,
            N_SPLITS,
            {"margin_split": ("split",)},
            _polya_arrays,
            _split_prior,
            _polya_mass,
            lambda margin: margin.leaf,
        ),
        MarginModel(
            "empirical",
            "segment",
            False,
            0,
            {},
            _empirical_arrays,
            lambda data, dims: {},
            lambda values, data, xp: data["cell_share"],
            lambda margin: np.zeros(len(margin.low), dtype=int),
        ),
        MarginModel(
            "bernstein",
            "segment",
            True,
            _N_GROUPS + N_KERNELS - 1,
            {"margin_split": ("split",)},
            _bernstein_arrays,
            _split_prior,
            _bernstein_mass,
            _lump_inner_atoms,
        ),
        MarginModel(
            "beta_mixture",
            "segment",
            True,
            _N_GROUPS,
            {
                "margin_split": ("split",),
                "beta_share": (),
                "beta_low": (),
                "beta_gap": (),
                "beta_size": ("component",),
            },
            _beta_arrays,
            _beta_prior,
            _beta_mass,
            _lump_inner_atoms,
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
        raise CascadeError(f"margin={name!r} is not known; choose one of {', '.join(map(repr, MARGIN_MODELS))}.")
    return MARGIN_MODELS[name]
