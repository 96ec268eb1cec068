"""Latency: mean of each stage with its uncertainty, through fits, tasks, updates and files."""

import warnings

import numpy as np
import pytest
import xarray as xr
from helpers.fits import stored_fit
from scipy.stats import ks_1samp
from scipy.stats import t as student_t

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.inference.sampling import convergence
from bayescascade.model.costs import draw_means, mean_statistics, spread_of
from bayescascade.posterior.draws import get_draws

SHORT = {"draws": 400, "tune": 300, "chains": 2, "progressbar": False, "random_seed": 3}


def short_fit(log):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sampling did not converge: R-hat")
        return stored_fit(log, difficulty=False, **SHORT)


def timed(log, seed=5):
    """The log with latencies: all of stage 0, one in four of stage 1, none of stage 2."""
    rng = np.random.default_rng(seed)
    seconds = rng.gamma(4.0, [0.1, 0.3, 1.0], size=log["cost"].shape)
    seconds[np.arange(len(seconds)) % 4 > 0, 1] = np.nan
    seconds[:, 2] = np.nan
    seconds[np.isnan(log["confidence"].values)] = np.nan
    return log.assign(latency=(("query", "stage"), seconds, {"units": "s"}))


@pytest.fixture(scope="module")
def log():
    return timed(bc.load_example())


@pytest.fixture(scope="module")
def fit(log):
    return short_fit(log)


def test_means_follow_a_t_distribution_on_the_log_scale():
    rng = np.random.default_rng(1)
    values = rng.lognormal(0.0, 0.5, (12, 2))
    values[8:, 1] = np.nan
    drawn = draw_means(mean_statistics(values), 4000, rng)
    for j, n in enumerate((12, 8)):
        x = values[:n, j]
        t = np.log(drawn[:, j] / x.mean()) / (x.std(ddof=1) / x.mean() / np.sqrt(n))
        assert ks_1samp(t, student_t(n - 1).cdf).pvalue > 0.01


def test_statistics_of_stages_with_few_known_values():
    values = np.array([[1.0, 5.0, np.nan], [3.0, np.nan, np.nan], [2.0, np.nan, np.nan]])
    mean, relative, dof = mean_statistics(values)
    np.testing.assert_array_equal(mean, [2.0, 5.0, np.nan])
    np.testing.assert_allclose(relative[:2], [0.5 / np.sqrt(3), 0.5])  # the second borrows the first's spread
    np.testing.assert_array_equal(dof, [3.0, 3.0, 3.0])
    np.testing.assert_allclose(spread_of(values), [1.0, 0.0, 0.0])


def test_a_fit_holds_latency_where_it_is_known(fit, log):
    latency = fit["posterior"]["latency"]
    assert latency.dims == ("chain", "draw", "stage")
    assert latency.attrs == {"units": "s"}
    assert np.isnan(latency.isel(stage=2)).all()
    for j, few in ((0, 1), (1, 4)):
        x = log["latency"].values[::few, j]
        assert float(latency.isel(stage=j).mean()) == pytest.approx(np.nanmean(x), rel=0.03)
        assert float(latency.isel(stage=j).std()) == pytest.approx(np.nanstd(x) / np.sqrt(len(x)), rel=0.3)
    assert np.isfinite(convergence(fit)["rhat"])
    assert np.isfinite(convergence(fit)["ess_bulk"])


def test_draws_hold_latency_and_spreads(fit, log):
    draws = get_draws(fit)
    np.testing.assert_array_equal(draws.latency, fit["posterior"]["latency"].values.reshape(-1, 3))
    np.testing.assert_allclose(draws.cost_sd, np.nanstd(log["cost"], axis=0, ddof=1))
    np.testing.assert_allclose(draws.latency_sd[:2], log["latency"].std("query", ddof=1)[:2])
    assert draws.latency_sd[2] == 0.0
    some = draws.take(np.array([5, 7]))
    np.testing.assert_array_equal(some.latency, draws.latency[[5, 7]])
    np.testing.assert_array_equal(some.cost_sd, draws.cost_sd)


def test_nothing_else_moves(fit, log):
    without = short_fit(log.drop_vars("latency"))
    xr.testing.assert_equal(without["posterior"].to_dataset(), fit["posterior"].to_dataset().drop_vars("latency"))
    xr.testing.assert_equal(without["margins"].to_dataset(), fit["margins"].to_dataset())
    assert without.attrs["data_hash"] == fit.attrs["data_hash"]
    draws = get_draws(without)
    assert draws.latency is None
    assert draws.latency_sd is None


def test_a_fit_without_spreads_loads(fit):
    old = fit.copy(deep=True)
    for name in ("cost_sd", "latency_sd"):
        del old["constant_data"][name]
    assert get_draws(old).cost_sd is None
    assert get_draws(old).latency_sd is None


def test_latency_is_saved_and_loaded(fit, tmp_path):
    bc.save_fit(fit, tmp_path / "fit.nc")
    back = bc.load_fit(tmp_path / "fit.nc")
    xr.testing.assert_identical(
        back["posterior"]["latency"].drop_attrs(), fit["posterior"]["latency"].drop_attrs()
    )
    assert back["posterior"]["latency"].attrs["units"] == "s"
    np.testing.assert_array_equal(back["observed_data"]["latency"], fit["observed_data"]["latency"])


def test_check_does_not_mind(fit):
    found = bc.check(fit)["convergence"]
    assert np.isfinite(found.table.loc["latency", "r_hat"])
    assert "nan" not in found.text


def test_an_update_counts_new_latencies(fit, log):
    n = 6
    new = log.isel(query=slice(n)).assign_coords(query=1000 + np.arange(n))
    updated = bc.fit(new, previous=fit, random_seed=1, progressbar=False)
    assert updated["observed_data"].sizes["query"] == log.sizes["query"] + n
    both = np.concatenate([log["latency"].values, new["latency"].values])
    means = updated["posterior"]["latency"].mean(("chain", "draw")).values
    np.testing.assert_allclose(means[:2], np.nanmean(both[:, :2], axis=0), rtol=0.03)
    np.testing.assert_allclose(get_draws(updated).latency_sd[:2], np.nanstd(both[:, :2], axis=0, ddof=1))


def test_an_update_without_latencies_keeps_the_old_ones(fit, log):
    new = log.isel(query=slice(4)).assign_coords(query=1000 + np.arange(4)).drop_vars("latency")
    updated = bc.fit(new, previous=fit, random_seed=1, progressbar=False)
    assert int(updated["observed_data"]["latency"].notnull().sum()) == int(log["latency"].notnull().sum())
    assert updated["posterior"]["latency"].attrs == {"units": "s"}


def test_an_update_refuses_other_units(fit, log):
    new = log.isel(query=slice(4)).assign_coords(query=1000 + np.arange(4))
    new["latency"].attrs["units"] = "ms"
    with pytest.raises(CascadeError, match="in s, but those of the new queries in ms; bring them to one unit"):
        bc.fit(new, previous=fit, random_seed=1, progressbar=False)


@pytest.mark.slow
def test_each_task_has_its_own_latency():
    logs = {name: timed(bc.simulate(60, random_seed=i), seed=i) for i, name in enumerate(["law", "medicine"])}
    logs["medicine"]["latency"] = logs["medicine"]["latency"] * 10.0
    fit = short_fit(bc.combine_tasks(logs))
    for name, log in logs.items():
        draws = get_draws(bc.select_task(fit, name))
        assert draws.latency[:, 0].mean() == pytest.approx(float(log["latency"][:, 0].mean()), rel=0.05)
        np.testing.assert_allclose(draws.latency_sd[:2], log["latency"].std("query", ddof=1)[:2])
        np.testing.assert_allclose(draws.cost_sd, log["cost"].std("query", ddof=1))
