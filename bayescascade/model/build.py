"""The PyMC model of a cascade log: margins, Markov copula, calibration and cost in one `pm.Model`.

Equations, with u = F_j(signal) and one row for each observed (query, stage):

* signal:   log p(signal_j | signal_{j-1}) = log f_j + log c_j(u_{j-1}, u_j), where an atom takes the place of a
  density by a difference of h-functions (one atom) or of C (two atoms), divided by the atoms' masses;
* correct:  Bernoulli(logit^-1(intercept_j + slope_j z + atom offset)), intercepts and log slopes pooled;
* cost:     mean cost of a stage, Student t about the sample mean on the log scale.

With ``difficulty`` a latent number of each query enters both, and a share of all queries is unanswerable; both are
integrated out: see `factor`. Then a query's signals and labels are one observation, ``joint``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade._common.compiling import compiling
from bayescascade.logs.validate import validate_log
from bayescascade.model.calibration import ATOMS, N_PIECES, SPREAD, get_calibration, log_bernoulli
from bayescascade.model.copulas.namespace import pytensor_namespace
from bayescascade.model.costs import add_costs
from bayescascade.model.design import Design, build_design
from bayescascade.model.factor import NODES, query_logp
from bayescascade.model.likelihood import signal_logp
from bayescascade.model.margins.models import add_splits, get_margin_model
from bayescascade.model.margins.tree import N_LEAVES
from bayescascade.model.options import Copula, check_options
from bayescascade.model.packing import pack, unpack
from bayescascade.model.population import normal

if TYPE_CHECKING:
    import pymc as pm


def build_model(
    log: xr.Dataset,
    *,
    copula: Copula | None = None,
    margin: str = "polya_tree",
    calibration: str = "logistic",
    difficulty: bool = True,
) -> pm.Model:
    """Build the PyMC model of a log.

    Examples
    --------
    >>> import bayescascade as bc
    >>> model = bc.build_model(bc.load_example())
    >>> sorted(rv.name for rv in model.observed_RVs)
    ['joint']

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it, dims (query, stage). With a coordinate ``task`` over query, calibration and tau
        are partially pooled across tasks.
    copula : str or sequence of str, optional
        Pair-copula family of every link, or one for each; default is ``"gaussian"``, and ``"gumbel"`` without
        ``difficulty``. ``"gumbel"``, ``"clayton"``, ``"joe"``, each also with
        ``_180`` for its rotation, ``"frank"``, ``"gaussian"``, ``"independence"``.
    margin : str
        ``"polya_tree"``: atoms and quantile segments under a finite Polya tree. ``"bernstein"``: atoms and a
        Bernstein polynomial with Dirichlet weights.
    calibration : str
        ``"logistic"``: pooled logistic regression of correctness on the stage's own signal. ``"monotone"``:
        an increasing piecewise linear curve on the logit scale.
    difficulty : bool
        Whether each query has a latent difficulty, which lowers its confidences (``loading``) and makes its
        answers wrong beyond what the confidences say (``discrimination``). Links then join what it leaves. A share
        of queries is ``unanswerable``: no stage gets them right, whatever its confidence. Ranks are the observed
        ones where a stage ran for nearly all queries. ``False`` is a Markov copula, as in Zellinger & Thomson.

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
    options = check_options(copula, margin, calibration, log.sizes["stage"] - 1, difficulty)
    return model_of_design(build_design(log, options))


@compiling()
def model_of_design(design: Design, *, packed: bool = False) -> pm.Model:
    """Build the model from the arrays of a `Design`, which it has by their names or ``packed``."""
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
        arrays = pack(design.arrays) if packed else design.arrays
        data = {name: pm.Data(name, value, dims=design.dims.get(name)) for name, value in arrays.items()}
        if packed:
            data = unpack(data, design.arrays)
        population = data if structure.population else None
        xp = pytensor_namespace()
        split = add_splits(data, (*task, "stage"))
        mass = margin.mass(split.reshape((-1, margin.splits)) if task else split, data, xp)
        # unused cells have no mass; one stands in for it under the logarithm
        log_mass = xp.log(xp.maximum(mass, 1e-18)) * data["cell_used"]
        if options.difficulty:
            loading, discrimination = _difficulty(task, population)
            tau = _residual_tau(design, data, task, loading)
            logp = query_logp(
                log_mass,
                tau.flatten(),
                loading.flatten(),
                discrimination.flatten(),
                _unanswerable(task, population).reshape((-1,)),
                _label_logit(design, data, task, xp),
                data | NODES,
                structure,
                xp,
            )
            _observe("joint", logp, data["query_seen"])
        else:
            tau = _tau(design, data, task)
            row_logp = signal_logp(log_mass, tau.flatten(), data, structure.families, structure.rotated, xp)
            _observe("signal", row_logp, data["row_signal"])
            _observe_labels(_label_logit(design, data, task, xp), data, xp)
        add_costs(data["cost_known"], (*task, "stage"))
    return model


def _observe(name: str, logp: Any, value: Any) -> None:
    """Observations of a known log-likelihood, one for each value."""
    import pymc as pm

    dims = {"signal": "row", "joint": "query"}[name]
    pm.CustomDist(name, logp, logp=_given, random=_cannot_draw, observed=value, dims=dims)


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
    elif design.structure.population:
        share = pt.sigmoid(pm.Normal("tau_logit", *(data["tau_prior"][i] for i in (0, 1)), dims="link"))
    else:
        share = pm.Beta("tau_share", 1.0, 1.0, dims="link")
    return pm.Deterministic("tau", low + (1.0 - low) * share, dims=(*task, "link"))


def _residual_tau(design: Design, data: dict[str, Any], task: tuple[str, ...], loading: Any) -> Any:
    """Kendall's tau of what the difficulty leaves between two stages; its prior is nearer to 0 than without.

    Loadings and links explain the same dependence, and the former are to go first: of either sign, tau deviates
    from 0 by .25 a priori; of one sign, its median is .14.

    What is sampled is the logit of tau's share plus what the loadings add to the dependence of the scores, on the
    scale of that logit where tau is 0: a log knows their sum well, and one of them badly. (The exact dependence in
    all has bounds that depend on the loadings, and transitions diverge there.)
    """
    import pymc as pm
    import pytensor.tensor as pt

    low = data["tau_low"].reshape((len(design.tasks), len(design.links))) if task else data["tau_low"]
    centre, spread = data["tau_prior"][0], data["tau_prior"][1]
    if task:
        centre = pm.Normal("tau_logit_mean", centre, spread, dims="link")
        spread = pm.LogNormal("tau_logit_sd", np.log(0.3), SPREAD)
    shift = 4.0 / np.pi * loading[..., :-1] * loading[..., 1:]
    shifted = pm.Normal("tau_logit_shifted", centre + shift, spread, dims=(*task, "link"))
    share = pt.sigmoid(shifted - shift)
    return pm.Deterministic("tau", low + (1.0 - low) * share, dims=(*task, "link"))


def _difficulty(task: tuple[str, ...], population: dict[str, Any] | None) -> tuple[Any, Any]:
    """Loadings and discriminations of the stages, partially pooled.

    A priori the median loading is .45, and nine in ten are between .1 and .85. Two stages' scores then correlate
    by .19 in the median through the difficulty alone, nine in ten by .02 to .66. A stage's log odds of being right
    differ by .7 per unit of difficulty in the median, nine in ten by .2 to 2.1.
    """
    import pymc as pm
    import pytensor.tensor as pt

    dims = (*task, "stage")
    if population is None:
        loading = pt.sigmoid(_pooled("loading_logit", -0.2, 1.0, 0.5, task))
        discrimination = pt.exp(_pooled("log_discrimination", np.log(0.7), 0.6, 0.3, task))
    else:
        loading = pt.sigmoid(normal("loading_logit", population, dims))
        discrimination = pt.exp(normal("log_discrimination", population, dims))
    return (
        pm.Deterministic("loading", loading, dims=dims),
        pm.Deterministic("discrimination", discrimination, dims=dims),
    )


def _unanswerable(task: tuple[str, ...], population: dict[str, Any] | None) -> Any:
    """Share of queries that every stage gets wrong, whatever its confidence; partially pooled across tasks.

    A priori 3% in the median, nine in ten between 1 and 11%. Test sets have wrong references for 3.4% of their
    items on average (Northcutt et al. 2021, arXiv:2103.14749), MMLU for 6.5% (Gema et al. 2024, arXiv:2406.04127).
    """
    import pymc as pm
    import pytensor.tensor as pt

    if population is not None:
        logit = normal("unanswerable_logit", population)
    else:
        logit = pm.Normal("unanswerable_logit_mean" if task else "unanswerable_logit", -3.4, 0.8)
    if task:
        spread = pm.LogNormal("task_unanswerable_logit_sd", np.log(0.5), SPREAD)
        logit = logit + pm.Normal("task_unanswerable_logit_departure", 0.0, spread, dims=task)
    return pm.Deterministic("unanswerable", pt.sigmoid(logit), dims=task or None)


def _pooled(name: str, centre: float, scale: float, spread: float, task: tuple[str, ...]) -> Any:
    """A normal parameter of each stage with a common mean; with tasks, each task's departs from its stage's.

    The departures are what is sampled: a log says more about the mean than about a stage.
    """
    import pymc as pm

    mean = pm.Normal(f"{name}_mean", centre, scale)
    sd = pm.LogNormal(f"{name}_sd", np.log(spread), SPREAD)
    of_stage = mean + pm.Normal(f"{name}_departure", 0.0, sd, dims="stage")
    if not task:
        return of_stage
    task_sd = pm.LogNormal(f"task_{name}_sd", np.log(0.3), SPREAD)
    return of_stage + pm.Normal(f"task_{name}_departure", 0.0, task_sd, dims=(*task, "stage"))


def _label_logit(design: Design, data: dict[str, Any], task: tuple[str, ...], xp: Any) -> Any:
    """Logit of P(correct) of each label (label,), at ease 0 and if it can be answered."""
    calibration = get_calibration(design.options.calibration)
    population = data if design.structure.population else None
    return calibration.label_logit(calibration.prior(task, population), data, xp)


def _observe_labels(logit: Any, data: dict[str, Any], xp: Any) -> None:
    import pymc as pm

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
        "the signals of a query depend on each other and cannot be drawn one by one: pass var_names without "
        "'signal' and 'joint', or draw whole queries with bayescascade.posterior.replicate.replicate_draw."
    )
