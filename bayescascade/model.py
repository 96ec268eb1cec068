"""The PyMC model of a cascade log: margins, Markov copula, calibration and cost in one `pm.Model`.

Equations, with u = F_j(signal) and one row for each observed (query, stage):

* signal:   log p(signal_j | signal_{j-1}) = log f_j + log c_j(u_{j-1}, u_j), where an atom takes the place of a
  density by a difference of h-functions (one atom) or of C (two atoms), divided by the atoms' masses;
* correct:  Bernoulli(logit^-1(intercept_j + slope_j z + atom offset)), intercepts and log slopes pooled;
* cost:     mean cost of a stage, Student t about the sample mean on the log scale; or gamma given the signals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade.calibration import ATOMS, N_ATOMS, N_PIECES, bent, log_bernoulli, logit_correct
from bayescascade.copulas import pytensor_namespace
from bayescascade.data import validate_log
from bayescascade.design import Design, build_design, mean_of
from bayescascade.likelihood import signal_logp
from bayescascade.margin_models import get_margin_model
from bayescascade.margins import N_LEAVES
from bayescascade.structure import Copula, check_options

if TYPE_CHECKING:
    import pymc as pm

# The log-normal priors of all spreads are narrow on purpose: with three to five stages, or a few tasks, the data
# say little about them, and a wider prior's funnel near zero makes transitions diverge.
_SPREAD = 0.3
_ATOM_SCALE = np.array([1.0, 1.0, *[0.5] * (N_ATOMS - 2)])


def build_model(
    log: xr.Dataset,
    *,
    copula: Copula = "gumbel",
    margin: str = "polya_tree",
    calibration: str = "logistic",
    cost: str = "mean",
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
        As `read_log` returns it, dims (query, stage). With a coordinate ``task`` over query, calibration and tau
        are partially pooled across tasks.
    copula : str or sequence of str
        Pair-copula family of every link, or one for each: ``"gumbel"``, ``"clayton"``, ``"joe"``, each also with
        ``_180`` for its rotation, ``"frank"``, ``"gaussian"``, ``"independence"``.
    margin : str
        ``"polya_tree"``: atoms and quantile segments under a finite Polya tree. ``"bernstein"``: atoms and a
        Bernstein polynomial with Dirichlet weights. ``"beta_mixture"``: atoms and two scaled betas.
        ``"empirical"``: the observed shares, with a Bayesian bootstrap after sampling.
    calibration : str
        ``"logistic"``: pooled logistic regression of correctness on the stage's own signal. ``"sequential"``:
        the previous stage's signal too. ``"monotone"``: an increasing piecewise linear curve on the logit scale.

    Returns
    -------
    pymc.Model
        With dims ``stage, link, split, atom, row, label`` and, where the log has tasks, ``task``. All data are
        `pm.Data`, so that one compiled model serves every log of the same structure.

    Raises
    ------
    CascadeError
        For an unknown option or a log that `validate_log` rejects.

    References
    ----------
    Zellinger & Thomson (2025), arXiv:2501.09345; Lavine (1992), doi:10.1214/aos/1176348767; Petrone (1999),
    doi:10.1111/1467-9469.00155; Joe (2014), Dependence Modeling with Copulas.
    """
    log = validate_log(log)
    return model_of_design(build_design(log, check_options(copula, margin, calibration, log.sizes["stage"] - 1)))


def model_of_design(design: Design) -> pm.Model:
    """Build the model from the arrays of a `Design`."""
    import pymc as pm

    options, structure = design.options, design.structure
    margin = get_margin_model(options.margin)
    coords: dict[str, Any] = {
        "stage": design.stages,
        "link": design.links,
        "split": np.arange(margin.splits),
        "leaf": np.arange(N_LEAVES),
        "atom": list(ATOMS),
        "component": ["low", "high"],
        "piece": np.arange(N_PIECES),
    }
    if design.tasks:
        coords["task"] = design.tasks
    task: tuple[str, ...] = ("task",) if design.tasks else ()
    with pm.Model(coords=coords) as model:
        data = {name: pm.Data(name, value, dims=design.dims.get(name)) for name, value in design.arrays.items()}
        xp = pytensor_namespace()
        values = margin.prior(data, (*task, "stage"))
        columns = {name: _columns(value, margin.variables[name], task) for name, value in values.items()}
        mass = margin.mass(columns, data, xp)
        # unused cells have no mass; one stands in for it under the logarithm
        log_mass = xp.log(xp.maximum(mass, 1e-18)) * data["cell_used"]
        tau = _tau(design, data, task)
        row_logp = signal_logp(log_mass, tau.flatten(), data, structure.families, structure.rotated, xp)
        pm.CustomDist(
            "signal", row_logp, logp=_given, random=_cannot_draw, observed=data["row_signal"], dims="row"
        )
        _calibration(design, data, task, xp)
        _cost(design, data, task, xp)
    return model


def _columns(value: Any, axis: tuple[str, ...], task: tuple[str, ...]) -> Any:
    """Join the axes of task and stage into one over columns."""
    if not task:
        return value
    return value.reshape((-1, value.shape[-1])) if axis else value.flatten()


def _tau(design: Design, data: dict[str, Any], task: tuple[str, ...]) -> Any:
    """Kendall's tau, uniform over its family's range; across tasks the logits are pooled for each link."""
    import pymc as pm
    import pytensor.tensor as pt

    shape = (len(design.tasks), len(design.links)) if task else (len(design.links),)
    low = data["tau_low"].reshape(shape)
    if task:
        centre = pm.Logistic("tau_logit_mean", 0.0, 1.0, dims="link")
        spread = pm.LogNormal("tau_logit_sd", np.log(0.3), _SPREAD)
        share = pt.sigmoid(pm.Normal("tau_logit", centre, spread, dims=("task", "link")))
    else:
        share = pm.Beta("tau_share", 1.0, 1.0, dims="link")
    return pm.Deterministic("tau", low + (1.0 - low) * share, dims=(*task, "link"))


def _calibration(design: Design, data: dict[str, Any], task: tuple[str, ...], xp: Any) -> None:
    import pymc as pm
    import pytensor.tensor as pt

    option, dims = design.options.calibration, (*task, "stage")
    intercept_mean = pm.Normal("intercept_mean", 0.0, 1.5)
    intercept_sd = pm.LogNormal("intercept_sd", np.log(0.8), _SPREAD)
    log_slope_mean = pm.Normal("log_slope_mean", 0.0, 0.7)
    log_slope_sd = pm.LogNormal("log_slope_sd", np.log(0.4), _SPREAD)
    if task:
        stage_intercept = pm.Normal("stage_intercept", intercept_mean, intercept_sd, dims="stage")
        stage_log_slope = pm.Normal("stage_log_slope", log_slope_mean, log_slope_sd, dims="stage")
        task_sd = pm.LogNormal("task_intercept_sd", np.log(0.7), _SPREAD)
        task_shift = pm.ZeroSumNormal("task_intercept", sigma=task_sd, dims="task")  # the stages hold the mean
        rest_sd = pm.LogNormal("intercept_rest_sd", np.log(0.4), _SPREAD)
        slope_sd = pm.LogNormal("task_log_slope_sd", np.log(0.3), _SPREAD)
        centre = stage_intercept + task_shift[:, None]
        intercept = pm.Normal("intercept", centre, rest_sd, dims=dims)
        log_slope = pm.Normal("log_slope", stage_log_slope, slope_sd, dims=dims)
        shared = pm.Normal("stage_atom_offset", 0.0, _ATOM_SCALE, dims=("stage", "atom"))
        # most atoms have no labels in some task, so their offsets are drawn as departures
        departure = pm.Normal("atom_departure", 0.0, 1.0, dims=(*dims, "atom"))
        offset = pm.Deterministic("atom_offset", shared + 0.5 * departure, dims=(*dims, "atom"))
    else:
        intercept = pm.Normal("intercept", intercept_mean, intercept_sd, dims=dims)
        log_slope = pm.Normal("log_slope", log_slope_mean, log_slope_sd, dims=dims)
        offset = pm.Normal("atom_offset", 0.0, _ATOM_SCALE, dims=(*dims, "atom"))
    slope = pm.Deterministic("slope", pt.exp(log_slope), dims=dims)

    column = data["label_column"]
    # one more atom, without offset, for what is no atom
    jump = pt.concatenate([offset, pt.zeros_like(offset[..., :1])], axis=-1).reshape((-1, N_ATOMS + 1))
    curve, previous = data["label_z"], 0.0
    if option == "monotone":
        bend = pm.Normal("bend", 0.0, 0.5, dims=(*dims, "piece"))
        curve = bent(data["label_ramp"], bend.reshape((-1, N_PIECES))[column], xp)
    if option == "sequential":
        spread = pm.LogNormal("previous_sd", np.log(0.3), _SPREAD)
        effect = pm.Normal("previous_slope", 0.0, spread, dims=(*task, "link"))
        # the first stage has no previous one; its rows' previous signal is 0
        of_column = pt.concatenate([pt.zeros_like(effect[..., :1]), effect], axis=-1).flatten()
        previous = of_column[column] * data["label_previous"]
    logit = logit_correct(
        intercept.flatten()[column], slope.flatten()[column], jump[column, data["label_atom"]], curve, previous
    )

    def logp(value: Any, logit: Any) -> Any:
        return log_bernoulli(value, logit, xp)

    # not pm.Bernoulli, whose softplus takes three times as long
    pm.CustomDist(
        "correct",
        logit,
        logp=logp,
        random=_draw_bernoulli,
        dtype="int64",
        observed=data["label_correct"],
        dims="label",
    )


def _cost(design: Design, data: dict[str, Any], task: tuple[str, ...], xp: Any) -> None:
    import pymc as pm

    dims, shape = (*task, "stage"), (*([len(design.tasks)] if task else []), len(design.stages))
    known = data["cost_known"].reshape((3, *shape))
    cost_t = pm.StudentT("cost_t", nu=known[2], mu=0.0, sigma=1.0, dims=dims)
    pm.Deterministic("cost", mean_of(known, cost_t, xp), dims=dims)


def _draw_bernoulli(logit: Any, rng: Any = None, size: Any = None) -> Any:
    from scipy.special import expit

    return rng.binomial(1, expit(logit), size=size)


def _given(value: Any, row_logp: Any) -> Any:
    return row_logp


def _cannot_draw(row_logp: Any, rng: Any = None, size: Any = None) -> Any:
    raise NotImplementedError(
        "the 'signal' rows depend on each other along a query and cannot be drawn one by one: pass var_names "
        "without 'signal', or draw whole queries with bayescascade.simulation.replicate_draw."
    )
