"""Which family for which link: every candidate is fitted, and PSIS-LOO decides link by link.

Without a difficulty, the likelihood of a signal given the one before has one link in it, so that a fit with one
family at all links ranks it at each of them. With a difficulty only whole queries have a likelihood: a candidate
is fitted at one link at a time, with the default family at the others, and the queries' densities are compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from bayescascade.errors import CascadeError, option
from bayescascade.inference.deferral_weights import seen_weights
from bayescascade.inference.pointwise import held_out, log_likelihood_of, model_masses, signal_rows
from bayescascade.inference.predictive import with_groups
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.design import Design, build_design
from bayescascade.model.options import Options, default_copula

CANDIDATES = tuple(FAMILIES)
# By family, for each link: expected log predictive density of each row or query, and the worst Pareto k-hat.
ByLink = dict[str, list[tuple[np.ndarray, float]]]
# A short run of each candidate is enough to rank them.
_DRAWS, _CHAINS = 400, 2


def fit_auto(
    log: xr.Dataset, options: Options, config: SamplerConfig, whole: xr.Dataset | None = None
) -> xr.DataTree:
    """Fit with the family of each link that has the best expected log predictive density."""
    weight = _weights(log, options, config, whole)
    table = compare_families(log, options, config, weight, whole)
    best = [str(table["family"].values[i]) for i in table["elpd"].values.argmax(axis=1)]
    design = build_design(log, with_families(options, best), weight=weight, whole=whole)
    tree = with_groups(fit_design(design, log, config), design, config.random_seed)
    tree["comparison"] = xr.DataTree(table)
    tree.attrs["copula_choice"] = "auto"
    return tree


def compare_families(
    log: xr.Dataset,
    options: Options,
    config: SamplerConfig,
    seen: np.ndarray | None = None,
    whole: xr.Dataset | None = None,
) -> xr.Dataset:
    """Expected log predictive density of every candidate at every link.

    Returns
    -------
    xarray.Dataset
        ``elpd``, ``se``, ``elpd_diff`` and ``dse`` (from the best of its link), ``worst_k`` (Pareto k-hat) over
        (link, family).
    """
    short = replace(config, draws=_DRAWS, chains=_CHAINS, log_likelihood=False, progressbar=False)

    def design_of(copula: list[str]) -> Design:
        return build_design(log, with_families(options, copula), weight=seen, whole=whole)

    first = design_of([CANDIDATES[0]] * (log.sizes["stage"] - 1))
    if first.tasks:
        raise CascadeError(
            option("copula", "auto") + " compares families on one task; choose on one, and name the families.",
            parameter="copula",
            value="auto",
        )
    compare = _by_whole_queries if options.difficulty else _by_rows
    return _table(first.links, compare(log, design_of, short))


def steps_of_choice(options: Options, config: SamplerConfig) -> int:
    """How many steps of the sampler the fits of `compare_families` have together."""
    n_links = len(options.copula)
    # with a difficulty, the default at all links is one fit
    n_fits = (len(CANDIDATES) - 1) * n_links + 1 if options.difficulty else len(CANDIDATES)
    return n_fits * _CHAINS * (_DRAWS + config.tune)


def _by_rows(log: xr.Dataset, design_of: Callable[[list[str]], Design], short: SamplerConfig) -> ByLink:
    """Leave-one-out of each candidate's rows at each link, from one fit with the family at all links."""
    n_links = log.sizes["stage"] - 1
    by_link: ByLink = {}
    for name in CANDIDATES:
        design = design_of([name] * n_links)
        rows, column = _rows(fit_design(design, log, short), design)
        by_link[name] = [_loo(rows[..., column == j + 1]) for j in range(n_links)]
    return by_link


def _by_whole_queries(log: xr.Dataset, design_of: Callable[[list[str]], Design], short: SamplerConfig) -> ByLink:
    """Leave-one-out of whole queries for each candidate at each link, the default family at all others."""
    n_links, usual = log.sizes["stage"] - 1, default_copula(True)
    done: dict[tuple[str, ...], tuple[np.ndarray, float]] = {}

    def loo(copula: list[str]) -> tuple[np.ndarray, float]:
        if tuple(copula) not in done:
            design = design_of(copula)
            posterior = fit_design(design, log, short)["posterior"].to_dataset()
            joint = log_likelihood_of(posterior, design, log["query"].values)["joint"]
            done[tuple(copula)] = _loo(joint.transpose("chain", "draw", "query").values)
        return done[tuple(copula)]

    return {
        name: [loo([name if i == j else usual for i in range(n_links)]) for j in range(n_links)]
        for name in CANDIDATES
    }


def _table(links: list[str], by_link: ByLink) -> xr.Dataset:
    """The candidates beside each other, and beside the best of each link."""
    n_links = len(links)
    rows_elpd = np.array([[elpd.sum() for elpd, _ in by_link[name]] for name in CANDIDATES]).T
    se = np.array([[_se_of_sum(elpd) for elpd, _ in by_link[name]] for name in CANDIDATES]).T
    worst = np.array([[k for _, k in by_link[name]] for name in CANDIDATES]).T
    dse = np.zeros_like(se)
    for j in range(n_links):
        best = by_link[CANDIDATES[int(rows_elpd[j].argmax())]][j][0]
        for i, name in enumerate(CANDIDATES):
            dse[j, i] = _se_of_sum(best - by_link[name][j][0])
    dims = ("link", "family")
    return xr.Dataset(
        {
            "elpd": (dims, rows_elpd),
            "se": (dims, se),
            "elpd_diff": (dims, rows_elpd - rows_elpd.max(axis=1, keepdims=True)),
            "dse": (dims, dse),
            "worst_k": (dims, worst),
        },
        coords={"link": links, "family": list(CANDIDATES)},
    )


def _weights(
    log: xr.Dataset, options: Options, config: SamplerConfig, whole: xr.Dataset | None
) -> np.ndarray | None:
    """How many queries each seen signal stands for; the default family will do."""
    n_links = log.sizes["stage"] - 1
    return seen_weights(log, replace(options, copula=("gumbel",) * n_links), config, whole)


def with_families(options: Options, copula: list[str]) -> Options:
    """The options with these families, one a link; all candidates share one compiled model."""
    return replace(options, copula=tuple(copula), candidates=CANDIDATES)


def _rows(fit: xr.DataTree, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood of each row that follows another (chain, draw, row), and its stage, in an order of their own.

    The design's order depends on the families.
    """
    posterior = fit["posterior"].to_dataset()
    tau = posterior["tau"].transpose("chain", "draw", "link").values
    rows = signal_rows(tau.reshape(-1, tau.shape[2]), model_masses(posterior, design), design) + held_out(design)
    order = np.lexsort((design.row_column, design.row_query))
    order = order[design.row_follows[order]]
    return rows.reshape(*tau.shape[:2], -1)[..., order], design.row_column[order]


def _loo(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Expected log predictive density of each row (row,), of (chain, draw, row), and the worst Pareto k-hat."""
    import arviz as az

    elpd, worst = rows[0, 0].copy(), 0.0
    moves = rows.std(axis=(0, 1)) > 0.0  # a signal that is certain has no weights to smooth
    if moves.any():
        tree = xr.DataTree.from_dict(
            {
                "posterior": xr.Dataset({"x": (("chain", "draw"), np.zeros(rows.shape[:2]))}),
                "log_likelihood": xr.Dataset({"signal": (("chain", "draw", "row"), rows[..., moves])}),
            }
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a high k is in the table
            loo = az.loo(tree, pointwise=True)
        elpd[moves], worst = np.asarray(loo.elpd_i), float(np.max(loo.pareto_k))
    return elpd, worst


def _se_of_sum(terms: np.ndarray) -> float:
    """Standard error of a sum of independent terms (row,)."""
    return float(np.sqrt(len(terms) * np.var(terms)))
