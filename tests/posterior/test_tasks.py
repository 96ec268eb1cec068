"""The fit of several tasks, and the fit of one taken out of it."""

import warnings

import numpy as np
import pytest
import xarray as xr
from helpers.fits import stored_fit

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.schema import data_hash, margins_and_scalings

pytestmark = pytest.mark.slow  # each of its logs is compiled and sampled

# Not in the order of the alphabet, of different sizes, and unlike in their signals, so that nothing is mixed up
# without being seen.
PARTS = {
    "maths": {"n_queries": 90, "intercept": [-0.8, 0.0, 1.0], "signal_mean": [0.0, 0.8, 1.5], "random_seed": 1},
    "law": {"n_queries": 60, "intercept": [0.8, 1.4, 2.2], "top_atom": [0.3, 0.0, 0.0], "random_seed": 2},
}
THRESHOLDS = [0.7, 0.8, -np.inf]


def sampled(log, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)  # so few draws do not satisfy R-hat
        return stored_fit(
            log, draws=100, tune=200, chains=2, random_seed=1, progressbar=False, **{"difficulty": False} | options
        )


@pytest.fixture(scope="module")
def logs():
    return {name: bc.simulate(**options) for name, options in PARTS.items()}


@pytest.fixture(scope="module")
def pooled(logs):
    return sampled(bc.combine_tasks(logs))


@pytest.fixture(scope="module", params=PARTS)
def one(request, pooled):
    return bc.select_task(pooled, request.param)


# ---- what is selected


def test_draws_are_the_slices_of_the_fit(pooled, one):
    name = one.attrs["task"]
    for group in ("posterior", "margins"):
        whole, part = pooled[group].to_dataset(), one[group].to_dataset()
        assert "task" not in part.variables
        assert set(part.data_vars) == set(whole.data_vars)
        for variable, values in part.items():
            expected = whole[variable]
            if "task" in expected.dims:
                expected = expected.isel(task=list(PARTS).index(name))
            if "segment" in expected.dims:
                assert (expected.isel(segment=slice(values.sizes["segment"], None)) == 0).all()
                expected = expected.isel(segment=slice(values.sizes["segment"]))
            np.testing.assert_array_equal(values, expected)
    xr.testing.assert_identical(one["copula"].to_dataset(), pooled["copula"].to_dataset())
    xr.testing.assert_identical(one["sample_stats"].to_dataset(), pooled["sample_stats"].to_dataset())


def test_queries_are_the_tasks_own(pooled, logs, one):
    name = one.attrs["task"]
    observed = one["observed_data"].to_dataset()
    assert observed["query"].values.tolist() == [f"{name}/{i}" for i in range(PARTS[name]["n_queries"])]
    for variable in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(observed[variable], logs[name][variable])
    own = pooled["observed_data"]["task"].values == name
    for variable, values in one["log_likelihood"].to_dataset().items():
        np.testing.assert_array_equal(values, pooled["log_likelihood"][variable].values[:, :, own])
        assert values["query"].values.tolist() == observed["query"].values.tolist()


def test_attributes(pooled, logs, one):
    name = one.attrs["task"]
    assert one.attrs["n_queries"] == PARTS[name]["n_queries"]
    assert one.attrs["data_hash"] == data_hash(logs[name]) != pooled.attrs["data_hash"]
    kept = set(pooled.attrs) - {"n_queries", "data_hash"}
    assert {key: one.attrs[key] for key in kept} == {key: pooled.attrs[key] for key in kept}
    assert "task" not in pooled.attrs


def test_margins_are_those_of_the_tasks_own_log(pooled, one):
    margins, scalings = margins_and_scalings(one["constant_data"].to_dataset())
    place = 3 * list(PARTS).index(one.attrs["task"])
    whole, of_whole = margins_and_scalings(pooled["constant_data"].to_dataset())
    for j in range(3):
        for field in ("low", "high", "leaf", "count", "split_used"):
            np.testing.assert_array_equal(getattr(margins[j], field), getattr(whole[place + j], field))
        np.testing.assert_array_equal(scalings[j].atoms, of_whole[place + j].atoms)
        assert scalings[j].centre == of_whole[place + j].centre
    # no segment is padding at every stage
    assert np.isfinite(one["constant_data"]["segment_low"].values).any(axis=0).all()
    atoms = [int(margin.is_atom.sum()) for margin in margins]
    assert atoms == ([1, 0, 0] if one.attrs["task"] == "law" else [0, 0, 0])


def test_the_model_agrees_with_the_tasks_own_queries(logs, one):
    """Reach depends on margins and copula, error on the calibration: each must be of this task."""
    expected = bc.evaluate(one, THRESHOLDS)
    found = bc.score(logs[one.attrs["task"]], THRESHOLDS)
    np.testing.assert_allclose(expected["reach"].mean(("chain", "draw")), found["reach"], atol=0.06)
    np.testing.assert_allclose(expected["error"].mean(), found["error"], atol=0.12)
    np.testing.assert_allclose(expected["cost"].mean(), found["cost"], rtol=0.12)


def test_the_tasks_of_this_test_differ(logs):
    reach = [bc.score(log, THRESHOLDS)["reach"].values[1] for log in logs.values()]
    assert abs(reach[0] - reach[1]) > 0.12  # or the test before would not see them mixed up


def test_other_tasks_lend_strength_to_one_with_few_labels(logs):
    """Eight labels say little of three slopes; ninety of another task narrow them."""
    few = logs["law"].copy(deep=True)
    few["correct"][8:] = np.nan
    alone = sampled(few)
    both = bc.select_task(sampled(bc.combine_tasks({"law": few, "maths": logs["maths"]})), "law")
    sd = [float(fit["posterior"]["slope"].std(("chain", "draw")).mean()) for fit in (alone, both)]
    assert sd[1] < sd[0]


# ---- what can be done with it


def test_a_selected_fit_is_a_fit(one, tmp_path):
    solution = bc.tune(one, error_price=0.01)
    curve = bc.frontier(one, n_points=5)
    assert curve.sizes["point"] >= 2
    policy = solution.to_policy(tmp_path / "policy.json")
    assert policy.metadata["task"] == one.attrs["task"]
    assert policy.metadata["n_queries"] == one.attrs["n_queries"]
    checks = bc.check(one, thresholds=solution.thresholds)
    for name in ("margins", "calibration", "dependence", "own signal", "cascade"):
        assert checks[name].passed, checks[name].text
    bc.report(one, tmp_path / "report.html", solution=solution)
    assert f"{one.attrs['n_queries']} queries" in (tmp_path / "report.html").read_text()
    bc.plot_reliability(one)
    bc.plot_frontier(one)


def test_a_selected_fit_is_saved_and_loaded(pooled, one, tmp_path):
    bc.save_fit(one, tmp_path / "one.nc")
    back = bc.load_fit(tmp_path / "one.nc")
    assert back.attrs["task"] == one.attrs["task"]
    np.testing.assert_array_equal(bc.evaluate(back, THRESHOLDS)["error"], bc.evaluate(one, THRESHOLDS)["error"])
    bc.save_fit(pooled, tmp_path / "pooled.nc")
    again = bc.select_task(bc.load_fit(tmp_path / "pooled.nc"), one.attrs["task"])
    for group in one.children:
        xr.testing.assert_equal(again[group].to_dataset(), one[group].to_dataset())
    assert again.attrs == one.attrs


def test_replicated_queries_and_prior_are_its_own(pooled, one):
    replicated, prior = (one[group].to_dataset() for group in ("posterior_predictive", "prior"))
    assert replicated.sizes["query"] == PARTS[one.attrs["task"]]["n_queries"]
    np.testing.assert_allclose(
        replicated["confidence"].mean(("chain", "draw", "query")),
        one["observed_data"]["confidence"].mean("query"),
        atol=0.04,
    )
    of_all = pooled["prior"].to_dataset()
    assert prior["tau"].dims == ("chain", "draw", "link")
    xr.testing.assert_equal(prior["tau"], of_all["tau"].sel(task=one.attrs["task"], drop=True))


def test_selecting_leaves_the_fit_alone(pooled):
    before = pooled.copy(deep=True)
    part = bc.select_task(pooled, "law")
    part["posterior"]["tau"][:] = 0.0
    xr.testing.assert_identical(pooled, before)


def test_tasks_seen_by_the_model(pooled):
    tau = pooled["posterior"]["tau"]
    assert tau["task"].values.tolist() == list(PARTS)
    assert tau.dims == ("chain", "draw", "task", "link")
    assert int(pooled["sample_stats"]["diverging"].sum()) <= 2


# ---- mistakes


def test_a_fit_of_several_tasks_says_to_select(pooled):
    with pytest.raises(
        CascadeError, match=r"has the tasks \['maths', 'law'\]; choose one first, with select_task"
    ):
        get_draws(pooled)


@pytest.mark.parametrize("name", ["physics", 0, None])
def test_unknown_task(pooled, name):
    with pytest.raises(CascadeError, match=f"no task {name!r}; it has 'maths', 'law'"):
        bc.select_task(pooled, name)


def test_a_selected_fit_is_not_selected_from(pooled):
    with pytest.raises(CascadeError, match="the fit of the task 'law' already"):
        bc.select_task(bc.select_task(pooled, "law"), "maths")


def test_a_selected_fit_is_not_updated(pooled, logs):
    part = bc.select_task(pooled, "law")
    with pytest.raises(CascadeError, match="fit of the task 'law' alone; update the fit of all tasks"):
        bc.fit(logs["law"], previous=part)


def test_a_fit_without_tasks(example_fit):
    with pytest.raises(CascadeError, match="this fit has no tasks: its log had no coord 'task'"):
        bc.select_task(example_fit, "law")
    with pytest.raises(CascadeError, match=r"a fit is an xarray\.DataTree"):
        bc.select_task(example_fit["posterior"].to_dataset(), "law")


def test_the_one_task_of_a_log_that_names_it(example_log):
    n = example_log.sizes["query"]
    fit = sampled(example_log.assign_coords(task=("query", ["law"] * n)))
    part = bc.select_task(fit, "law")
    assert part.attrs["task"] == "law"
    assert part.attrs["data_hash"] == fit.attrs["data_hash"]
    np.testing.assert_array_equal(bc.evaluate(part, THRESHOLDS)["cost"], bc.evaluate(fit, THRESHOLDS)["cost"])


def test_an_update_of_all_tasks(logs):
    """New queries of one task are added to the fit of all, which keeps its tasks."""
    old = {name: log.isel(query=slice(5, None)) for name, log in logs.items()}
    names = ["confidence", "correct", "cost"]
    joined = bc.combine_tasks(logs)
    of_new = [f"law/{i}" for i in range(5)]
    before = joined.sel(query=[q for q in joined["query"].values if q not in of_new])
    assert before.sizes["query"] == old["law"].sizes["query"] + logs["maths"].sizes["query"]
    fit = sampled(before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        updated = bc.fit(joined.sel(query=of_new), previous=fit, random_seed=2)
    assert updated.attrs["update"] in ("reweighted", "sampled anew")
    part = bc.select_task(updated, "law")
    assert part.attrs["n_queries"] == 60
    assert set(part["observed_data"]["query"].values) == {f"law/{i}" for i in range(60)}
    assert set(part["observed_data"].data_vars) == set(names)
