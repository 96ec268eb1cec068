"""What a joint fit says of a further task, against tasks that are drawn from its population."""

import numpy as np
import pytest
import xarray as xr
from helpers.pooled import SPREADS, draws_of, joint_of

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from bayescascade.model.population import COVARIANCE, MEAN, parameters
from bayescascade.posterior.population import _intercepts, _of_stage, population_of, with_population
from bayescascade.posterior.schema import options_of


@pytest.fixture(scope="module")
def log():
    return bc.combine_tasks({f"t{i}": bc.simulate(30, n_stages=3, random_seed=i) for i in range(4)})


@pytest.fixture(scope="module", params=[False, True])
def joint(request, log):
    return joint_of(log, request.param)


def test_moments_are_those_of_tasks_drawn_from_the_population(joint):
    population, posterior = population_of(joint), joint["posterior"].to_dataset()
    rng = np.random.default_rng(2)
    means = {
        "log_slope": ("stage_log_slope", "task_log_slope_sd"),
        "tau_logit": ("tau_logit_mean", "tau_logit_sd"),
        "unanswerable_logit": ("unanswerable_logit_mean", "task_unanswerable_logit_sd"),
    }
    difficulty = bool(joint.attrs["difficulty"])
    for name in set(means) & set(parameters(difficulty)):
        mean, sd = (posterior[part] for part in means[name])
        new = mean + sd * xr.DataArray(rng.normal(size=(2, 50, 400)), dims=("chain", "draw", "new"))
        drawn = [new.mean(("chain", "draw", "new")), new.std(("chain", "draw", "new"))]
        np.testing.assert_allclose(population[name].transpose("moment", ...), drawn, atol=0.01)
    assert population[MEAN].dims == ("stage",)
    assert population[COVARIANCE].dims == ("stage", "other")
    assert population.attrs["n_tasks"] == 4
    assert set(population.data_vars) == {*parameters(difficulty), MEAN, COVARIANCE}


def test_a_new_tasks_intercepts_have_the_covariance_of_the_model():
    """Shifts sum to zero over the tasks of the fit, so the shift of a new one is about the mean of theirs."""
    rng, n_tasks, n = np.random.default_rng(3), 4, 200_000
    posterior = xr.Dataset(
        {
            "stage_intercept": (("chain", "draw", "stage"), np.zeros((1, 2, 3))),
            "task_intercept_sd": (("chain", "draw"), np.full((1, 2), 0.7)),
            "intercept_rest_sd": (("chain", "draw"), np.full((1, 2), 0.4)),
            "intercept": (("chain", "draw", "task", "stage"), np.zeros((1, 2, n_tasks, 3))),
        }
    )
    shift = 0.7 * rng.normal(size=(n, n_tasks + 1))
    new = (shift[:, -1] - shift[:, :-1].mean(axis=1))[:, None] + 0.4 * rng.normal(size=(n, 3))
    np.testing.assert_allclose(_intercepts(posterior)[1], np.cov(new.T), atol=0.01)


def test_a_stage_that_is_not_kept_is_drawn_from_what_its_tasks_say():
    """A new task's value, less what is expected, has the variance that is said, and nothing to do with theirs."""
    rng, n = np.random.default_rng(4), 100_000
    stage = -0.2 + 0.5 * rng.normal(size=n)
    tasks = stage[:, None] + 0.25 * rng.normal(size=(n, 3))
    new = stage + 0.25 * rng.normal(size=n)
    known = {"loading_logit_mean": -0.2, "loading_logit_sd": 0.5, "task_loading_logit_sd": 0.25}
    posterior = xr.Dataset({name: ("draw", np.full(n, value)) for name, value in known.items()})
    mean, variance = _of_stage("loading_logit", xr.DataArray(tasks, dims=("draw", "task")), posterior)
    missed = new - mean.values
    assert abs(missed.mean()) < 4.5 * missed.std() / np.sqrt(n)
    np.testing.assert_allclose(missed.var(), variance.values[0], rtol=4.5 * np.sqrt(2 / n))
    assert abs(np.corrcoef(missed, tasks.mean(axis=1))[0, 1]) < 4.5 / np.sqrt(n)


def test_tasks_that_differ_more_give_wider_priors(log):
    options = check_options(None, "polya_tree", "logistic", 2)
    design = build_design(bc.validate_log(log), options)
    joint = joint_of(log)
    wide = joint.copy(deep=True)
    wide["posterior"] = xr.DataTree(
        joint["posterior"].to_dataset().assign(tau_logit_sd=10.0 * joint["posterior"]["tau_logit_sd"])
    )
    narrow, far = (population_of(fit)["tau_logit"].sel(moment="sd") for fit in (joint, wide))
    assert (far > 5.0 * narrow).all()
    assert set(SPREADS) <= set(draws_of(design))


def test_a_fit_keeps_its_population_through_a_file(joint, tmp_path):
    """As if it had been fitted under it: a fit of one task with the group."""
    population = population_of(joint)
    one = joint_of(bc.simulate(30, n_stages=3, random_seed=9), bool(joint.attrs["difficulty"]))
    one["population"] = xr.DataTree(population)
    bc.save_fit(one, tmp_path / "fit.nc")
    back = bc.load_fit(tmp_path / "fit.nc")
    xr.testing.assert_equal(population_of(back), population)
    assert population_of(back).attrs == population.attrs
    assert options_of(back).population is not None
    assert options_of(joint).population is None
    again = with_population(
        check_options(None, "polya_tree", "logistic", 2, options_of(back).difficulty), back, bc.simulate(20)
    )
    xr.testing.assert_equal(again.population, population)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.drop_vars("log_slope"), "lacks the variable 'log_slope' of group 'population'"),
        (lambda p: p.assign(intercept_covariance=-p["intercept_covariance"]), "spreads of its population"),
        (lambda p: p.assign(tau_logit=0.0 * p["tau_logit"]), "spreads of its population"),
        (lambda p: p.isel(moment=[0]), "no mean and spread"),
        (lambda p: p.assign(log_slope=np.nan * p["log_slope"]), "'log_slope' of group 'population' are NaN"),
        (lambda p: p.isel(link=[0]), "'link' has"),
    ],
)
def test_a_population_that_cannot_be_one_is_refused_when_it_is_loaded(log, tmp_path, change, message):
    one = joint_of(bc.simulate(30, n_stages=3, random_seed=9))
    one["population"] = xr.DataTree(change(population_of(joint_of(log))))
    bc.save_fit(one, tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match=message):
        bc.load_fit(tmp_path / "fit.nc")


def test_a_population_of_the_loadings_is_needed_where_there_is_a_difficulty(log, tmp_path):
    one = joint_of(bc.simulate(30, n_stages=3, random_seed=9), True)
    one["population"] = xr.DataTree(population_of(joint_of(log)))
    bc.save_fit(one, tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match="its population lacks the variable 'loading_logit'"):
        bc.load_fit(tmp_path / "fit.nc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"difficulty": True},
            "difficulty=True is not what the population was fitted with; give difficulty=False",
        ),
        ({"copula": "frank"}, r"is not what the population was fitted with; give copula=\['gumbel', 'gumbel'\]"),
        ({"calibration": "monotone"}, "give calibration='logistic'"),
        ({"copula": "auto"}, "copula='auto' compares families without a population; name the population's"),
        ({"previous": xr.DataTree()}, "population=... was given beside an earlier fit"),
        ({"log": bc.simulate(30, n_stages=2)}, "the population's stages are 'small', 'medium', 'large', but"),
        (
            {"log": bc.simulate(30, confidence_kind="logprob")},
            "are of kind 'probability', but the log's are of kind",
        ),
        ({"log": "several"}, "the log has several tasks, which are pooled with each other"),
    ],
)
def test_another_model_or_log_is_refused(log, options, message):
    asked = {"difficulty": False, "log": bc.simulate(30), "progressbar": False} | options
    if isinstance(asked["log"], str):
        asked["log"] = log
    joint = joint_of(log)
    with pytest.raises(CascadeError, match=message):
        bc.fit(population=joint, **asked)


def test_what_has_no_population_is_refused(log):
    with pytest.raises(CascadeError, match="this fit has no tasks"):
        population_of(joint_of(bc.simulate(30, random_seed=1)))
    with pytest.raises(CascadeError, match="a population is that of the fit of all tasks"):
        population_of(bc.select_task(joint_of(log), "t1"))
