"""The PyMC model of a cascade log: margins, Markov copula, calibration and cost in one `pm.Model`.

Equations, with u = F_j(signal) and one row for each observed (query, stage):

* signal:   log p(signal_j | signal_{j-1}) = log f_j + log c_j(u_{j-1}, u_j), where an atom takes the place of a
  density by a difference of h-functions (one atom) or of C (two atoms), divided by the atoms' masses;
* correct:  Bernoulli(logit^-1(intercept_j + slope_j z + atom offset)), intercepts and log slopes pooled;
* cost:     mean cost of a stage, Student t about the sample mean on the log scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade.calibration import ENDS, logit_correct
from bayescascade.copulas import MASS_MIN, Family, get_family, pytensor_namespace
from bayescascade.design import Design, build_design
from bayescascade.errors import CascadeError
from bayescascade.margins import N_LEAVES, N_SPLITS

if TYPE_CHECKING:
    import pymc as pm

MARGINS = ("polya_tree",)
CALIBRATIONS = ("logistic",)


def check_options(copula: str, margin: str, calibration: str) -> None:
    """Raise `CascadeError` unless each name is one that `build_model` knows."""
    get_family(copula)
    for option, value, known in (("margin", margin, MARGINS), ("calibration", calibration, CALIBRATIONS)):
        if value not in known:
            raise CascadeError(f"{option}={value!r} is not known; choose one of {', '.join(map(repr, known))}.")


def build_model(
    log: xr.Dataset,
    *,
    copula: str = "gumbel",
    margin: str = "polya_tree",
    calibration: str = "logistic",
) -> pm.Model:
    """Build the PyMC model of a log.

    Examples
    --------
    >>> import bayescascade as bc
    >>> model = bc.build_model(bc.load_example())
    >>> sorted(rv.name for rv in model.observed_RVs)
    ['correct', 'signal']

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it, dims (query, stage).
    copula : str
        Pair-copula family of every link: ``"gumbel"`` or ``"independence"``.
    margin : str
        ``"polya_tree"``: atoms and quantile segments under a finite Polya tree.
    calibration : str
        ``"logistic"``: pooled logistic regression of correctness on the stage's own signal.

    Returns
    -------
    pymc.Model
        With dims ``stage, link, split, end, row, label``. All data are `pm.Data`, so that one compiled
        model serves every log of as many stages.

    Raises
    ------
    CascadeError
        For an unknown option or a log that `validate_log` rejects.

    References
    ----------
    Zellinger & Thomson (2025), arXiv:2501.09345; Lavine (1992), doi:10.1214/aos/1176348767.
    """
    check_options(copula, margin, calibration)
    return model_of_design(build_design(log), get_family(copula))


def model_of_design(design: Design, family: Family) -> pm.Model:
    """Build the model from the arrays of a `Design`."""
    import pymc as pm
    import pytensor.tensor as pt

    xp = pytensor_namespace()
    coords = {
        "stage": design.stages,
        "link": design.links,
        "split": np.arange(N_SPLITS),
        "leaf": np.arange(N_LEAVES),
        "end": list(ENDS),
    }
    with pm.Model(coords=coords) as model:
        data = {name: pm.Data(name, value, dims=design.dims.get(name)) for name, value in design.arrays.items()}

        split = pm.Beta("margin_split", *_two(data["split_prior"]), dims=("stage", "split"))
        tau = pm.Beta("tau", 1.0, 1.0, dims="link")
        tree = data["tree"]
        log_weight = (pt.log(split)[:, None, :] * tree[0] + pt.log1p(-split)[:, None, :] * tree[1]).sum(-1)
        row_logp = signal_logp(log_weight, tau, data, family, xp)
        pm.CustomDist(
            "signal", row_logp, logp=_given, random=_cannot_draw, observed=data["row_signal"], dims="row"
        )

        # The log-normal priors of the two spreads are narrow on purpose: with three to five stages the data say
        # little about them, and a wider prior's funnel near zero makes transitions diverge.
        intercept_mean = pm.Normal("intercept_mean", 0.0, 1.5)
        intercept_sd = pm.LogNormal("intercept_sd", np.log(0.8), 0.3)
        log_slope_mean = pm.Normal("log_slope_mean", 0.0, 0.7)
        log_slope_sd = pm.LogNormal("log_slope_sd", np.log(0.4), 0.3)
        intercept = pm.Normal("intercept", intercept_mean, intercept_sd, dims="stage")
        log_slope = pm.Normal("log_slope", log_slope_mean, log_slope_sd, dims="stage")
        slope = pm.Deterministic("slope", pt.exp(log_slope), dims="stage")
        offset = pm.Normal("atom_offset", 0.0, 1.0, dims=("stage", "end"))
        stage = data["label_stage"]
        z, bottom, top = _three(data["label_x"])
        jump = offset[:, 0][stage] * bottom + offset[:, 1][stage] * top
        logit = logit_correct(intercept[stage], slope[stage], jump, z)
        pm.Bernoulli("correct", logit_p=logit, observed=data["label_correct"], dims="label")

        cost_mean, cost_se, cost_nu = _three(data["cost_known"])
        cost_t = pm.StudentT("cost_t", nu=cost_nu, mu=0.0, sigma=1.0, dims="stage")
        pm.Deterministic("cost", cost_mean * pt.exp(cost_se * cost_t), dims="stage")
    return model


def signal_logp(log_weight: Any, tau: Any, data: dict[str, Any], family: Family, xp: Any) -> Any:
    """Log-likelihood of each row of signals given the row before it in its query.

    Rows are ordered by case: no link, both sides continuous, one side an atom, both atoms. ``log_weight`` is
    (stage, leaf) and ``tau`` (link,). The same code runs on PyTensor variables and on NumPy arrays that carry
    one further axis, over draws.
    """
    weight = xp.exp(log_weight) * data["leaf_used"]
    below = xp.flatten(xp.cumsum(weight, axis=1) - weight)
    log_weight, weight = xp.flatten(log_weight), xp.flatten(weight)

    leaf = data["row_leaf"]
    place_low, place_high, log_shape = _three(data["row_place"])
    start, width = below[leaf], weight[leaf]
    low = xp.minimum(start + width * place_low, 1.0)
    high = xp.minimum(start + width * place_high, 1.0)
    log_mass = xp.log(xp.maximum(high - low, MASS_MIN))

    left, right, link = _three(data["both_free"])
    density = family.logpdf(low[left], low[right], tau[link], xp)
    atom, free, link = _three(data["one_atom"])
    strip = family.log_strip(low[atom], high[atom], low[free], tau[link], xp) - log_mass[atom]
    left, right, link = _three(data["both_atoms"])
    rectangle = family.log_rectangle(low[left], high[left], low[right], high[right], tau[link], xp)
    rectangle = rectangle - log_mass[left] - log_mass[right]
    return log_weight[leaf] + log_shape + xp.concatenate([data["row_unlinked"], density, strip, rectangle])


def _two(packed: Any) -> tuple[Any, Any]:
    return packed[0], packed[1]


def _three(packed: Any) -> tuple[Any, Any, Any]:
    # PyTensor variables cannot be unpacked; few packed arrays compile faster than many small ones
    return packed[0], packed[1], packed[2]


def _given(value: Any, row_logp: Any) -> Any:
    return row_logp


def _cannot_draw(row_logp: Any, rng: Any = None, size: Any = None) -> Any:
    raise NotImplementedError(
        "the 'signal' rows depend on each other along a query and cannot be drawn one by one: pass var_names "
        "without 'signal', or draw whole queries with bayescascade.simulation.replicate_draw."
    )
