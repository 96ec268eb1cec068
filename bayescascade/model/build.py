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

from bayescascade.logs.validate import validate_log
from bayescascade.model.calibration import ATOMS, N_PIECES, SPREAD, get_calibration, log_bernoulli
from bayescascade.model.copulas.namespace import pytensor_namespace
from bayescascade.model.costs import add_costs
from bayescascade.model.design import Design, build_design
from bayescascade.model.likelihood import signal_logp
from bayescascade.model.margins.models import add_splits, get_margin_model
from bayescascade.model.margins.tree import N_LEAVES
from bayescascade.model.options import Copula, check_options

if TYPE_CHECKING:
    import pymc as pm


def build_model(
    log: xr.Dataset,
    *,
    copula: Copula = "gumbel",
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
        As `read_log` returns it, dims (query, stage). With a coordinate ``task`` over query, calibration and tau
        are partially pooled across tasks.
    copula : str or sequence of str
        Pair-copula family of every link, or one for each: ``"gumbel"``, ``"clayton"``, ``"joe"``, each also with
        ``_180`` for its rotation, ``"frank"``, ``"gaussian"``, ``"independence"``.
    margin : str
        ``"polya_tree"``: atoms and quantile segments under a finite Polya tree. ``"bernstein"``: atoms and a
        Bernstein polynomial with Dirichlet weights.
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
        "piece": np.arange(N_PIECES),
    }
    if design.tasks:
        coords["task"] = design.tasks
    task: tuple[str, ...] = ("task",) if design.tasks else ()
    with pm.Model(coords=coords) as model:
        data = {name: pm.Data(name, value, dims=design.dims.get(name)) for name, value in design.arrays.items()}
        xp = pytensor_namespace()
        split = add_splits(data, (*task, "stage"))
        mass = margin.mass(split.reshape((-1, margin.splits)) if task else split, data, xp)
        # unused cells have no mass; one stands in for it under the logarithm
        log_mass = xp.log(xp.maximum(mass, 1e-18)) * data["cell_used"]
        tau = _tau(design, data, task)
        row_logp = signal_logp(log_mass, tau.flatten(), data, structure.families, structure.rotated, xp)
        pm.CustomDist(
            "signal", row_logp, logp=_given, random=_cannot_draw, observed=data["row_signal"], dims="row"
        )
        _labels(design, data, task, xp)
        add_costs(data["cost_known"], (*task, "stage"))
    return model


def _tau(design: Design, data: dict[str, Any], task: tuple[str, ...]) -> Any:
    """Kendall's tau, uniform over its family's range; across tasks the logits are pooled for each link."""
    import pymc as pm
    import pytensor.tensor as pt

    shape = (len(design.tasks), len(design.links)) if task else (len(design.links),)
    low = data["tau_low"].reshape(shape)
    if task:
        centre = pm.Logistic("tau_logit_mean", 0.0, 1.0, dims="link")
        spread = pm.LogNormal("tau_logit_sd", np.log(0.3), SPREAD)
        share = pt.sigmoid(pm.Normal("tau_logit", centre, spread, dims=("task", "link")))
    else:
        share = pm.Beta("tau_share", 1.0, 1.0, dims="link")
    return pm.Deterministic("tau", low + (1.0 - low) * share, dims=(*task, "link"))


def _labels(design: Design, data: dict[str, Any], task: tuple[str, ...], xp: Any) -> None:
    import pymc as pm

    calibration = get_calibration(design.options.calibration)
    logit = calibration.label_logit(calibration.prior(task), data, xp)

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
