"""Fits: what comes back, that it is the same for a seed, that it survives the disk, and logs that are thin."""

import json
import warnings

import arviz as az
import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.inference.sampling import convergence
from bayescascade.posterior import storage
from bayescascade.posterior.schema import data_hash, require

QUICK = {"draws": 150, "tune": 200, "chains": 2, "progressbar": False}


def change(log, **functions):
    """A copy of a log with some variables rewritten in place."""
    log = log.copy(deep=True)
    for name, function in functions.items():
        log[name].values[...] = function(log[name].values.copy())
    return log


def quick_fit(log, seed=3, **options):
    """A short fit; that it is too short to have converged is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sampling did not converge: R-hat")
        return bc.fit(log, random_seed=seed, **({"difficulty": False} | QUICK | options))


@pytest.fixture(scope="module")
def example_fit(example_log):
    """As `fit` returns it; elsewhere it may come from disk."""
    return quick_fit(example_log, seed=1, draws=200)


@pytest.fixture(scope="module")
def thin_log():
    return bc.simulate(60, n_stages=3, random_seed=8)


def test_what_a_fit_holds(example_fit, example_log):
    posterior = example_fit["posterior"].to_dataset()
    own = {
        "tau": ("link",),
        "intercept": ("stage",),
        "slope": ("stage",),
        "log_slope": ("stage",),
        "cost": ("stage",),
        "atom_offset": ("stage", "atom"),
        "margin_split": ("stage", "split"),
        **dict.fromkeys(("intercept_mean", "intercept_sd", "log_slope_mean", "log_slope_sd"), ()),
    }
    assert {str(name): v.dims[2:] for name, v in posterior.data_vars.items()} == own
    assert all(v.dims[:2] == ("chain", "draw") for v in posterior.data_vars.values())
    assert {d: posterior.sizes[d] for d in ("chain", "draw", "stage", "link")} == {
        "chain": 2,
        "draw": 200,
        "stage": 3,
        "link": 2,
    }
    names = [str(s) for s in example_log["stage"].values]
    assert list(posterior["stage"].values) == names
    assert list(posterior["link"].values) == [f"{names[0]} > {names[1]}", f"{names[1]} > {names[2]}"]
    assert list(posterior["atom"].values) == ["bottom", "top", *(f"inner {i}" for i in range(1, 7))]
    assert bool(((posterior["tau"] > 0) & (posterior["tau"] < 1)).all())
    assert bool((posterior[["slope", "cost"]] > 0).all().to_array().all())
    xr.testing.assert_allclose(posterior["slope"], np.exp(posterior["log_slope"]))


def test_other_groups_and_attributes(example_fit, example_log):
    assert set(example_fit.children) == {
        *("posterior", "margins", "copula", "sample_stats", "log_likelihood", "observed_data", "constant_data"),
        *("posterior_predictive", "predictions", "prior"),
    }
    family = example_fit["copula"]["family"]
    assert family.dims == ("link",)
    assert [json.loads(example_fit["copula"].attrs["families"])[i] for i in family.values] == ["gumbel"] * 2
    shares = example_fit["margins"]["segment_mass"].sum("segment")
    np.testing.assert_allclose(shares, 1.0, atol=1e-12)
    for name in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(example_fit["observed_data"][name], example_log[name])
    for name in ("diverging", "energy", "tree_depth", "acceptance_rate", "lp"):
        assert example_fit["sample_stats"][name].dims == ("chain", "draw")
    for name in ("signal", "correct", "joint"):
        values = example_fit["log_likelihood"][name]
        assert dict(values.sizes) == {"chain": 2, "draw": 200, "query": 300}
        assert bool(np.isfinite(values).all())
    attrs = example_fit.attrs
    assert {
        name: attrs[name]
        for name in ("copula", "margin", "calibration", "confidence_kind", "random_seed", "tuning_steps")
    } == {
        "copula": "gumbel",
        "margin": "polya_tree",
        "calibration": "logistic",
        "confidence_kind": "probability",
        "random_seed": 1,
        "tuning_steps": 200,
    }
    assert attrs["target_accept"] == 0.8
    assert attrs["n_queries"] == 300
    assert attrs["data_hash"] == data_hash(example_log)
    assert attrs["sampling_time"] > 0
    assert {"pymc", "nutpie", "bayescascade"} <= set(json.loads(attrs["versions"]))
    assert all(isinstance(value, str | int | float) for value in attrs.values())


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # 400 draws ask for a k-hat below 0.62
def test_arviz_takes_a_fit(example_fit):
    for name in ("signal", "correct"):
        loo = az.loo(example_fit, var_name=name)
        assert np.isfinite(loo.elpd)
        assert loo.n_data_points == 300
    assert float(az.rhat(example_fit, var_names=["tau"])["tau"].max()) < 1.05


def test_example_samples_cleanly(example_log):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CascadeWarning)
        fit = bc.fit(example_log, difficulty=False, random_seed=2, progressbar=False)
    assert int(fit["sample_stats"]["diverging"].sum()) == 0


def test_a_seed_gives_the_same_fit(thin_log):
    first, second = quick_fit(thin_log), quick_fit(thin_log)
    for group in ("posterior", "margins", "log_likelihood", "constant_data"):
        xr.testing.assert_equal(first[group].to_dataset(), second[group].to_dataset())
    other = quick_fit(thin_log, seed=4)
    assert not bool((other["posterior"]["tau"] == first["posterior"]["tau"]).all())


def test_a_drawn_seed_is_kept(thin_log):
    first = quick_fit(thin_log, seed=None)
    again = quick_fit(thin_log, seed=first.attrs["random_seed"])
    xr.testing.assert_equal(first["posterior"].to_dataset(), again["posterior"].to_dataset())


def test_what_the_log_says_nothing_of_need_not_converge(example_fit):
    """The example has one atom at the top of each of the last two stages, and none in the first."""
    apart = example_fit.copy(deep=True)
    apart["posterior"]["atom_offset"].loc[{"chain": 0, "stage": "small"}] += 9.0
    apart["posterior"]["atom_offset"].loc[{"chain": 0, "atom": "inner 2"}] += 9.0
    assert convergence(apart) == convergence(example_fit)
    apart["posterior"]["atom_offset"].loc[{"chain": 0, "stage": "large", "atom": "top"}] += 9.0
    assert convergence(apart)["rhat_name"] == "atom_offset"
    assert convergence(apart)["ess_bulk"] < 5.0


def test_log_likelihood_can_be_left_out(thin_log):
    assert "log_likelihood" not in quick_fit(thin_log, log_likelihood=False).children


def test_saving_and_loading_changes_nothing(example_fit, tmp_path):
    path = tmp_path / "fit.nc"
    bc.save_fit(example_fit, path)
    back = bc.load_fit(path)
    assert set(back.children) == set(example_fit.children)
    for name, group in example_fit.children.items():
        xr.testing.assert_identical(back[name].to_dataset(), group.to_dataset())
        assert dict(back[name].attrs) == dict(group.attrs)
        for variable in group.variables:
            assert back[name][variable].dtype.kind == group[variable].dtype.kind, (name, variable)
            assert dict(back[name][variable].attrs) == dict(group[variable].attrs)
    assert dict(back.attrs) == dict(example_fit.attrs)
    thresholds = [0.8, 0.7, -np.inf]
    xr.testing.assert_identical(bc.evaluate(back, thresholds), bc.evaluate(example_fit, thresholds))
    # and once more over an existing file, by the DataTree's own method
    example_fit.to_netcdf(path)
    xr.testing.assert_identical(bc.load_fit(path)["posterior"].to_dataset(), example_fit["posterior"].to_dataset())


def test_an_interrupted_save_leaves_nothing(example_fit, tmp_path, monkeypatch):
    def stop(digest):
        raise KeyboardInterrupt  # when the draws are written, and their checksum is not

    monkeypatch.setattr(storage, "_seal", stop)
    with pytest.raises(KeyboardInterrupt):
        bc.save_fit(example_fit, tmp_path / "fit.nc")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "fit.nc").write_bytes(b"what was there before")
    with pytest.raises(KeyboardInterrupt):
        bc.save_fit(example_fit, tmp_path / "fit.nc")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"what was there before"]


def test_files_that_are_no_fits(example_fit, tmp_path):
    path = tmp_path / "fit.nc"
    bc.save_fit(example_fit, path)
    whole = path.read_bytes()
    for name, content in (("cut.nc", whole[: len(whole) // 2]), ("text.nc", b"query,stage\n"), ("empty.nc", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CascadeError, match=r"cannot be read as netCDF .* truncated or not a fit"):
            bc.load_fit(tmp_path / name)
    xr.Dataset({"x": 1.0}).to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    with pytest.raises(CascadeError, match="is not a bayescascade fit: it lacks"):
        bc.load_fit(tmp_path / "foreign.nc")
    with pytest.raises(CascadeError, match="there is no file"):
        bc.load_fit(tmp_path / "none.nc")
    with pytest.raises(CascadeError, match=r"folder .* does not exist"):
        bc.save_fit(example_fit, tmp_path / "none" / "fit.nc")


@pytest.mark.parametrize(
    ("made_with", "message"),
    [
        ({"method": "map"}, r"fit.nc is a point estimate, made with method='map'.* Fit its log again"),
        ({"margin": "beta_mixture"}, r"made with margin='beta_mixture'.* 'polya_tree', 'bernstein'\. Fit its log"),
        (
            {"calibration": "sequential"},
            r"fit.nc was made with calibration='sequential', .* there are 'logistic', 'monotone'\. Fit its log",
        ),
        ({"margin": "empirical"}, r"fit.nc was made with margin='empirical'.* Fit its log again with one of"),
    ],
)
def test_fits_of_options_that_are_gone_are_refused(example_fit, tmp_path, made_with, message):
    former = example_fit.copy()
    former.attrs |= made_with
    bc.save_fit(former, tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match=message):
        bc.load_fit(tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match="Fit its log again"):
        bc.evaluate(former, [0.8, 0.7, -np.inf])


def test_stored_fits_of_stacked_families_are_refused(example_fit, tmp_path):
    """As earlier versions wrote them: a family for each draw of a link."""
    old, tau = example_fit.copy(), example_fit["posterior"]["tau"]
    family = xr.zeros_like(tau, dtype=np.int8).rename("family")
    old["copula"] = xr.DataTree(family.to_dataset().assign_attrs(families='["gumbel", "frank"]'))
    old.attrs |= {"copula": "gumbel + frank", "copula_choice": "stack"}
    bc.save_fit(old, tmp_path / "fit.nc")
    message = r"fit\.nc mixes draws of several copula families .*Fit its log again with copula='auto'"
    with pytest.raises(CascadeError, match=message):
        bc.load_fit(tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match="this DataTree mixes draws of several copula families"):
        bc.evaluate(old, [0.9, 0.9, float("-inf")])


def test_stored_fits_with_costs_by_signal_are_refused(example_fit, tmp_path):
    """As earlier versions wrote them."""
    old = example_fit.copy()
    slope = xr.full_like(example_fit["posterior"]["cost"], -0.3)
    old["posterior"] = xr.DataTree(
        example_fit["posterior"].to_dataset().assign(cost_slope=slope, cost_previous=slope)
    )
    old.attrs["cost"] = "signal"
    bc.save_fit(old, tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match=r"fit\.nc has costs that depend on the signal .*Fit its log again"):
        bc.load_fit(tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match="this DataTree has costs that depend on the signal"):
        bc.tune(old, error_price=0.01)


def test_stored_fits_that_name_the_default_cost_are_read(example_fit, tmp_path):
    """Earlier versions wrote the option for costs, which there is no choice of any more."""
    old = example_fit.copy()
    old.attrs["cost"] = "mean"
    bc.save_fit(old, tmp_path / "fit.nc")
    thresholds = [0.9, 0.9, float("-inf")]
    xr.testing.assert_identical(
        bc.evaluate(bc.load_fit(tmp_path / "fit.nc"), thresholds), bc.evaluate(example_fit, thresholds)
    )


def test_things_that_are_no_fits(example_fit):
    with pytest.raises(CascadeError, match="Dataset came"):
        require(xr.Dataset())
    lacking = example_fit.copy()
    del lacking["constant_data"]
    with pytest.raises(CascadeError, match="lacks group 'constant_data'"):
        bc.evaluate(lacking, [0.5, 0.5, -np.inf])
    with pytest.raises(CascadeError, match="Dataset came"):
        bc.tune(xr.Dataset(), max_error=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws=0 is not allowed; give a whole number from 4 to 1000000"),
        ({"draws": 10.5}, "draws=10.5 is not allowed"),
        ({"tune": 1}, "tune=1 is not allowed"),
        ({"chains": 0}, "chains=0 is not allowed"),
        ({"target_accept": 1.0}, "target_accept=1.0 is not allowed"),
        ({"copula": "gumbell"}, "copula='gumbell' is not a known family"),
        ({"margin": "beta"}, "margin='beta' is not known"),
        ({"calibration": "platt"}, "calibration='platt' is not known"),
        ({"copula": ["gumbel"]}, "copula has 1 families, but the log has 2 links between its stages"),
        ({"copula": ["gumbel", "frank", "joe"]}, "copula has 3 families, but the log has 2 links"),
        ({"copula": ["gumbel", "plackett"]}, "copula='plackett' is not a known family"),
    ],
)
def test_options_that_cannot_be_are_refused(example_log, options, message):
    with pytest.raises(CascadeError, match=message):
        bc.fit(example_log, progressbar=False, **options)


def test_few_queries_warn_and_fit():
    log = bc.simulate(7, n_stages=3, random_seed=1)
    with pytest.warns(CascadeWarning, match="the log has 7 queries; below 10 the prior dominates"):
        fit = quick_fit(change(log, correct=lambda x: np.indices(x.shape)[0] % 2))
    works(fit)


@pytest.mark.parametrize(("value", "word"), [(1.0, "right"), (0.0, "wrong")])
def test_a_one_sided_stage_warns_and_fits(thin_log, value, word):
    log = thin_log.copy(deep=True)
    log["correct"][:, 1] = value
    with pytest.warns(CascadeWarning, match=f"stage 'medium': all 60 labelled answers are {word}"):
        fit = quick_fit(log)
    works(fit)
    out = bc.evaluate(fit, [np.inf, -np.inf, -np.inf])["error"]
    assert float(np.abs(out.mean() - (1.0 - value))) < 0.1


def test_a_constant_confidence_warns_and_fits(thin_log):
    log = thin_log.copy(deep=True)
    log["confidence"][:, 0] = 0.7
    with pytest.warns(CascadeWarning, match="stage 'small': its confidence is constant"):
        fit = quick_fit(log)
    works(fit)
    reach = bc.evaluate(fit, [[0.7, -np.inf, -np.inf], [0.71, -np.inf, -np.inf]])["reach"].isel(stage=1)
    np.testing.assert_allclose(reach.isel(point=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(reach.isel(point=1), 1.0, atol=1e-12)


def test_a_production_log_fits():
    """Later stages are run after a deferral only, and few rows are labelled."""
    log = bc.simulate(150, n_stages=3, random_seed=5)
    run = np.ones((150, 3), dtype=bool)
    for j in (1, 2):
        run[:, j] = run[:, j - 1] & (log["confidence"].values[:, j - 1] < 0.8)
    log = change(log, **dict.fromkeys(("confidence", "correct", "cost"), lambda x: np.where(run, x, np.nan)))
    fit = quick_fit(log)
    works(fit)
    # the likelihood of a query that ran one stage has one factor, and the labels' none where nothing was labelled
    assert bool(np.isfinite(fit["log_likelihood"]["signal"]).all())


def test_forty_labels_beside_many_queries():
    log = bc.simulate(400, n_stages=3, n_labelled=40, random_seed=5)
    fit = quick_fit(log)
    works(fit)
    unlabelled = np.isnan(log["correct"].values).all(axis=1)
    assert unlabelled.sum() == 360
    assert bool((fit["log_likelihood"]["correct"].isel(query=unlabelled) == 0.0).all())
    # the unlabelled queries still tell the margins and the copula
    few = quick_fit(log.isel(query=~unlabelled))
    assert float(fit["posterior"]["tau"].std()) < 0.7 * float(few["posterior"]["tau"].std())


def works(fit):
    """The rest of the main job runs on this fit, and gives finite numbers."""
    posterior = fit["posterior"].to_dataset()
    assert all(bool(np.isfinite(v).all()) for v in posterior.data_vars.values())
    curve = bc.frontier(fit, n_points=5)
    assert all(bool(np.isfinite(curve[name]).all()) for name in ("error", "cost", "error_low", "cost_high"))
    assert bc.tune(fit, error_price=float(posterior["cost"].mean()) * 10).feasible


@pytest.mark.slow
def test_known_parameters_are_found():
    tau, intercept, slope = [0.25, 0.6], [0.0, 0.9, 1.6], [0.8, 1.5, 1.1]
    log = bc.simulate(2000, n_stages=3, tau=tau, intercept=intercept, slope=slope, random_seed=12)
    fit = bc.fit(log, difficulty=False, random_seed=1, progressbar=False, log_likelihood=False)
    posterior = fit["posterior"].to_dataset()
    constant = fit["constant_data"].to_dataset()
    # the model's slope is per standard deviation of the signal, its intercept at the mean of the signal
    scale, centre = constant["signal_scale"].values, constant["signal_centre"].values
    true = {
        "tau": np.array(tau),
        "slope": slope * scale,
        "intercept": np.array(intercept) + slope * (centre - (1.0 + 0.8 * np.arange(3))),
        "cost": 1e-4 * 5.0 ** np.arange(3),
    }
    for name, values in true.items():
        draws = posterior[name]
        off = (draws.mean(("chain", "draw")) - values) / draws.std(("chain", "draw"))
        assert bool((np.abs(off) < 4).all()), f"{name}: {off.values.round(1)} posterior sd away"


def test_a_few_confidences_at_the_end_of_the_scale_sample_well():
    # four of 300 are exactly 1, below what makes an atom elsewhere: as continuous values they sat at u = 1,
    # where the density degenerates, and the step size fell to 1e-12
    log = bc.simulate(300, n_stages=3, top_atom=[0, 0.01, 0], random_seed=2)
    assert 1 <= int((log["confidence"] == 1.0).sum()) < 6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)  # so few draws do not satisfy R-hat
        fit = bc.fit(log, difficulty=False, draws=100, tune=200, chains=2, random_seed=1, progressbar=False)
    assert float(fit["sample_stats"]["n_steps"].mean()) < 30
