"""Choice of a family for each link, and comparison of fits by PSIS-LOO.

They compile one model that knows every family, which takes a minute or more.
"""

import json
import warnings

import arviz as az
import numpy as np
import pytest
import xarray as xr
from helpers.pointwise import log_densities

import bayescascade as bc
from bayescascade.inference.copula_selection import CANDIDATES, compare_families
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.design import build_design
from bayescascade.model.options import Options, check_options

QUICK = {"draws": 200, "tune": 200, "chains": 2, "progressbar": False}
LOWER, UPPER = {"clayton", "gumbel_180", "joe_180"}, {"gumbel", "joe", "clayton_180"}


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sampling did not converge: R-hat")
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # of az.loo; these are short runs
        return function(*args, **options)


def quick_fit(log, **options):
    return quiet(bc.fit, log, random_seed=3, **(QUICK | options))


@pytest.fixture(scope="module")
def log():
    """Confidences that fail together at the first link, and that are high together at the second."""
    return bc.simulate(400, n_stages=3, copula=["clayton", "gumbel"], tau=0.6, random_seed=21)


@pytest.fixture(scope="module")
def auto(log):
    return quick_fit(log, copula="auto")


def families_of(fit):
    names = json.loads(fit["copula"].attrs["families"])
    return np.array(names)[fit["copula"]["family"].values]


@pytest.mark.slow
@pytest.mark.long
def test_the_right_tail_is_found_at_each_link(auto):
    chosen = families_of(auto)
    assert chosen.shape == (2,)
    assert chosen[0] in LOWER
    assert chosen[1] in UPPER
    assert auto.attrs["copula"] == ", ".join(chosen)
    assert auto.attrs["copula_choice"] == "auto"
    assert "log_likelihood" in auto.children
    tau = auto["posterior"]["tau"]
    assert bool((np.abs(tau.mean(("chain", "draw")) - 0.6) < 4 * tau.std(("chain", "draw"))).all())


@pytest.mark.slow
@pytest.mark.long
def test_what_the_comparison_holds(auto):
    table = auto["comparison"].to_dataset()
    by_link = ("elpd", "se", "elpd_diff", "dse", "worst_k")
    assert {str(name): v.dims for name, v in table.data_vars.items()} == dict.fromkeys(by_link, ("link", "family"))
    assert list(table["family"].values) == list(CANDIDATES)
    assert list(table["link"].values) == list(auto["posterior"]["link"].values)
    assert bool(np.isfinite(table.to_array()).all())
    np.testing.assert_allclose(table["elpd_diff"], table["elpd"] - table["elpd"].max("family"))
    best = table["elpd"].argmax("family")
    assert bool((table["dse"].isel(family=best) == 0.0).all())
    assert int((table["dse"] > 0.0).sum()) == 2 * (len(CANDIDATES) - 1)
    # given the stage before, an independent link knows the margin alone; the true family knows more
    elpd = table["elpd"].transpose("link", "family")
    for link, true in enumerate(("clayton", "gumbel")):
        gain = elpd.sel(family=true) - elpd.sel(family="independence")
        assert float(gain[link]) > 100.0
    np.testing.assert_array_equal(families_of(auto), np.array(CANDIDATES)[best.values])


@pytest.mark.slow
@pytest.mark.long
def test_the_table_is_what_arviz_makes_of_log_densities(log, auto):
    """Gumbel at the second link, by hand: fit, log densities of the third stage given the second, az.loo."""
    options = Options(("gumbel", "gumbel"), candidates=CANDIDATES)
    how = SamplerConfig(draws=400, tune=200, chains=2, random_seed=3, log_likelihood=False)
    fit = fit_design(build_design(log, options), log, how)
    rows = log_densities(fit, log)[2].reshape(2, 400, 400)
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"x": (("chain", "draw"), np.zeros((2, 400)))}),
            "log_likelihood": xr.Dataset({"y": (("chain", "draw", "query"), rows)}),
        }
    )
    loo = quiet(az.loo, tree)
    at = auto["comparison"].to_dataset().sel(family="gumbel").isel(link=1)
    np.testing.assert_allclose(at["elpd"], loo.elpd, rtol=1e-8)
    np.testing.assert_allclose(at["se"], loo.se, rtol=1e-8)
    np.testing.assert_allclose(at["worst_k"], np.max(loo.pareto_k), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_a_choice_is_one_of_named_families(log, auto):
    """The chosen families, named, give the posterior that the choice gave, up to Monte Carlo error."""
    named = quick_fit(log, copula=list(families_of(auto)))
    assert named.attrs["copula"] == auto.attrs["copula"]
    assert "comparison" not in named.children
    for name in ("tau", "intercept"):
        values = [fit["posterior"][name] for fit in (auto, named)]
        gap = values[0].mean(("chain", "draw")) - values[1].mean(("chain", "draw"))
        assert bool((np.abs(gap) < 0.5 * values[0].std(("chain", "draw"))).all())


@pytest.mark.slow
@pytest.mark.long
def test_a_comparison_passes_over_what_was_not_run(log):
    """Queries that end at the first stage say nothing of the second link: its rows are the other queries."""
    part = log.isel(query=slice(150)).copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        part[name][75:, 2] = np.nan
    options = check_options("independence", "polya_tree", "logistic", 2)
    table = quiet(compare_families, part, options, SamplerConfig(random_seed=3, tune=200))
    whole = quiet(compare_families, log.isel(query=slice(150)), options, SamplerConfig(random_seed=3, tune=200))
    gain = [t["elpd"].sel(family="gumbel") - t["elpd"].sel(family="independence") for t in (table, whole)]
    assert bool(np.isfinite(table.to_array()).all())
    assert 0.3 < float(gain[0][1] / gain[1][1]) < 0.7


# --- comparison of public fits ---


def rank(fits, var_name):
    return quiet(az.compare, {name: quiet(az.loo, fit, var_name=var_name) for name, fit in fits.items()})


@pytest.mark.slow
@pytest.mark.long
def test_fits_with_other_families_are_compared(log):
    fits = {"gumbel": quick_fit(log), "frank": quick_fit(log, copula="frank")}
    mixed = fits | {"both": quick_fit(log, copula=["frank", "gumbel"])}
    assert mixed["both"].attrs["copula"] == "frank, gumbel"
    assert families_of(mixed["both"]).tolist() == ["frank", "gumbel"]
    table = rank(mixed, "signal")
    assert table.index[0] == "both"  # Frank is nearer to Clayton, and Gumbel is true at the second link
    assert set(rank(fits, "signal").index) == set(fits)
    # the calibration does not know of the families
    elpd = [quiet(az.loo, fit, var_name="correct").elpd for fit in mixed.values()]
    assert np.ptp(elpd) < 1.0


@pytest.mark.slow
@pytest.mark.long
def test_fits_with_other_margins_are_compared(log):
    fits = {name: quick_fit(log, margin=name) for name in ("polya_tree", "bernstein")}
    loos = {name: quiet(az.loo, fit, var_name="signal") for name, fit in fits.items()}
    table = quiet(az.compare, loos)
    assert set(table.index) == set(fits)
    # densities on one scale: masses of segments, or of leaves, would differ by more than one per query
    assert abs(loos["polya_tree"].elpd - loos["bernstein"].elpd) < 0.25 * 400


@pytest.mark.slow
@pytest.mark.long
def test_fits_with_other_calibrations_are_compared():
    """Where correctness rises in the upper half of the signals only, the monotone calibration is better."""
    log = bc.simulate(400, n_stages=3, tau=0.2, random_seed=5)
    signal = np.log(log["confidence"].values) - np.log1p(-log["confidence"].values)
    above = np.maximum(signal - np.median(signal, axis=0), 0.0)
    right = np.random.default_rng(1).uniform(size=above.shape) < 1.0 / (1.0 + np.exp(0.5 - 4.0 * above))
    log["correct"] = log["correct"].copy(data=right.astype(float))
    fits = {name: quick_fit(log, calibration=name) for name in ("logistic", "monotone")}
    table = rank(fits, "correct")
    assert list(table.index) == ["monotone", "logistic"]
    assert float(table.loc["logistic", "elpd_diff"]) < -3 * float(table.loc["logistic", "dse"])
