"""Updates: an earlier fit's draws reweighted by new queries against the same posterior sampled anew."""

import warnings
from dataclasses import replace

import arviz as az
import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.calibration import ATOMS
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from bayescascade.posterior.schema import data_hash, margins_and_scalings
from bayescascade.reporting.tables import provenance

THRESHOLDS = [[0.8, 0.7, -np.inf], [0.6, 0.9, -np.inf]]
N_OLD = 250


def quiet_fit(log, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sampling did not converge: R-hat")
        return bc.fit(log, progressbar=False, **{"difficulty": False} | options)


def renamed(log, first=1000):
    """The same queries under ids of their own."""
    return log.assign_coords(query=first + np.arange(log.sizes["query"]))


def parts(log):
    """Old queries, and a few new ones that pull: confidences that agree more, and more wrong answers."""
    old, new = log.isel(query=slice(N_OLD)), renamed(log.isel(query=slice(N_OLD, N_OLD + 8))).copy(deep=True)
    for j in range(3):
        new["confidence"][:, j] = np.sort(new["confidence"].values[:, j])
    new["correct"][:] = (np.arange(8) % 2)[:, None]
    return old, new


def joined(old, new):
    return xr.concat([old, new], dim="query", join="override").assign_attrs(old.attrs)


def anew(previous, old, new, how, options):
    """The posterior of all queries, on the segments and scalings of the earlier fit."""
    log = joined(old, new)
    design = build_design(log, options, segments_of=build_design(old, options))
    counts = counted(log, previous)
    margins = [
        replace(m, count=np.maximum(c, 1e-3 * m.count)) for m, c in zip(design.margins, counts, strict=True)
    ]
    return fit_design(replace(design, margins=margins), log, how)


def counted(log, fit):
    """How many confidences of the log fall into each segment of the fit, by counting."""
    from bayescascade.signals.kinds import to_signal

    signal = to_signal(log["confidence"].values, log.attrs["confidence_kind"])
    out = []
    for j, margin in enumerate(margins_and_scalings(fit["constant_data"].to_dataset())[0]):
        atom = margin.is_atom
        x = signal[:, j][np.isfinite(signal[:, j])]
        free = x[~np.isin(x, margin.low[atom])]
        # a value beyond the intervals belongs to the outermost; between them there is no gap
        edges = np.append(margin.low[~atom], margin.high[~atom][-1])
        count = np.array([np.sum(x == value) for value in margin.low], dtype=float)
        count[~atom] = np.histogram(np.clip(free, edges[0], edges[-1]), edges)[0]
        out.append(count)
    return out


def quantities(fit, names):
    """Everything that is compared, as arrays (chain, draw, quantity)."""
    posterior = fit["posterior"].to_dataset()
    sizes = posterior.sizes["chain"], posterior.sizes["draw"]
    out = {name: posterior[name].values.reshape(*sizes, -1) for name in names}
    found = bc.evaluate(fit, THRESHOLDS)
    for name, key in (("error", "error"), ("cost", "cost per query")):
        out[key] = found[name].transpose("chain", "draw", "point").values
    return out


def off(one, other, share=1.0):
    """Differences of means in Monte Carlo standard errors; ``share`` of one's draws count."""
    out = {}
    for name in one:
        squares = []
        for values, part in ((one[name], share), (other[name], 1.0)):
            ess = az.ess(az.convert_to_datatree({"x": values}))["x"].values
            # more than independent draws would give is luck
            ess = np.minimum(ess, values.shape[0] * values.shape[1] * part)
            squares.append(values.var(axis=(0, 1)) / ess)
        difference = one[name].mean(axis=(0, 1)) - other[name].mean(axis=(0, 1))
        out[name] = difference / np.sqrt(sum(squares))
    return out


def check_agreement(old, new, options, names, seed):
    how = SamplerConfig(draws=1000, tune=300, chains=4, random_seed=seed)
    previous = fit_design(build_design(old, options), old, how)
    updated = bc.fit(new, previous=previous, random_seed=seed)
    assert updated.attrs["update"] == "reweighted"
    share = updated.attrs["update_share"]
    assert 0.1 < share < 0.9  # the new queries have something to say
    target = quantities(anew(previous, old, new, replace(how, random_seed=seed + 1), options), names)
    close = off(quantities(updated, names), target, share)
    far = off(quantities(previous, names), target)
    for name, z in close.items():
        assert np.abs(z).max() < 4.0, f"{name}: {z.round(1)}"
    return far


@pytest.mark.slow
def test_it_is_the_posterior_of_all_queries(example_log):
    old, new = parts(example_log)
    names = ("tau", "intercept", "slope", "cost")
    far = check_agreement(old, new, check_options("gumbel", "polya_tree", "logistic", 2), names, seed=3)
    # what it was before the update is another posterior in each of these, so that a wrong weight would be seen
    for name in ("tau", "intercept", "slope", "error"):
        assert np.abs(far[name]).max() > 8.0, f"{name}: {far[name].round(1)}"


@pytest.mark.slow
@pytest.mark.long
def test_other_options_are_kept_and_agree(example_log):
    old, new = parts(example_log)
    new = new.isel(query=[0, 3, 7])
    new["correct"].values[:] = 0.0
    new["cost"].values[:] *= 1.25
    options = check_options(["gumbel", "frank"], "polya_tree", "monotone", 2)
    names = ("tau", "intercept", "slope", "bend", "cost")
    far = check_agreement(old, new, options, names, seed=3)
    for name in ("tau", "intercept", "error"):
        assert np.abs(far[name]).max() > 5.0, f"{name}: {far[name].round(1)}"


@pytest.mark.slow
@pytest.mark.long
def test_options_of_the_earlier_fit_are_kept(example_log):
    old, new = parts(example_log)
    options = {"copula": ["gumbel", "frank"], "calibration": "monotone"}
    previous = quiet_fit(old, random_seed=1, draws=200, tune=200, chains=2, **options)
    updated = bc.fit(new.isel(query=slice(2)), previous=previous, random_seed=1)
    assert {
        "copula": "gumbel, frank",
        "calibration": "monotone",
    }.items() <= updated.attrs.items()
    xr.testing.assert_identical(updated["copula"].to_dataset(), previous["copula"].to_dataset())
    assert set(updated["posterior"].data_vars) == set(previous["posterior"].data_vars)
    assert np.isfinite(bc.evaluate(updated, THRESHOLDS)["cost"]).all()


@pytest.fixture(scope="module")
def three():
    """A few new queries that change nothing much."""
    return renamed(bc.simulate(3, n_stages=3, random_seed=77))


@pytest.fixture(scope="module")
def updated(example_fit, three):
    return bc.fit(three, previous=example_fit, random_seed=5)


def test_what_an_update_holds(updated, example_fit, example_log, three):
    log = joined(example_log, three)
    assert set(updated.children) == {*example_fit.children, "update"}
    for name in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(updated["observed_data"][name], log[name])
    assert updated["observed_data"]["query"].values.tolist() == [*range(300), 1000, 1001, 1002]
    assert updated.attrs["n_queries"] == 303
    assert updated.attrs["data_hash"] == data_hash(log) != example_fit.attrs["data_hash"]
    assert updated.attrs["random_seed"] == 5
    assert (updated.attrs["update"], updated.attrs["update_k"] < 0.7) == ("reweighted", True)
    for group in ("posterior", "margins", "sample_stats"):
        before = example_fit[group].to_dataset()
        after = updated[group].to_dataset()
        assert set(after.data_vars) == set(before.data_vars)
        for name in before.data_vars:
            assert after[name].dims == before[name].dims, name
            assert after[name].shape == before[name].shape, name
    assert dict(updated["log_likelihood"]["signal"].sizes) == {"chain": 2, "draw": 200, "query": 303}
    assert list(updated["posterior"]["atom"].values) == list(ATOMS)
    # the earlier fit is left as it was
    assert example_fit.attrs["n_queries"] == 300
    assert example_fit["observed_data"].sizes["query"] == 300


def test_draws_are_whole_draws_of_the_earlier_fit(updated, example_fit):
    """Variables are picked together: each draw of the update is one draw of the earlier fit."""
    flat = [
        np.concatenate(
            [
                fit["posterior"][name].values.reshape(400, -1)
                for name in ("tau", "intercept", "slope", "margin_split")
            ],
            axis=1,
        )
        for fit in (updated, example_fit)
    ]
    earlier = {row.tobytes() for row in flat[1]}
    assert all(row.tobytes() in earlier for row in flat[0])
    assert len({row.tobytes() for row in flat[0]}) > 200


def test_the_rest_of_the_main_job_takes_an_update(updated, tmp_path):
    bc.save_fit(updated, tmp_path / "fit.nc")
    back = bc.load_fit(tmp_path / "fit.nc")
    xr.testing.assert_identical(back["posterior"].to_dataset(), updated["posterior"].to_dataset())
    assert dict(back.attrs) == dict(updated.attrs)
    xr.testing.assert_identical(bc.evaluate(back, THRESHOLDS), bc.evaluate(updated, THRESHOLDS))
    assert bc.tune(back, error_price=0.01).feasible


def test_a_seed_gives_the_same_update(updated, example_fit, three):
    again = bc.fit(three, previous=example_fit, random_seed=5)
    for group in ("posterior", "margins", "log_likelihood"):
        xr.testing.assert_equal(again[group].to_dataset(), updated[group].to_dataset())


def test_costs_are_those_of_all_queries(example_fit, example_log, three):
    new = three.copy(deep=True)
    new["cost"][:] = 4.0 * example_log["cost"].mean("query").values
    expected = joined(example_log, new)["cost"].mean("query")
    found = bc.fit(new, previous=example_fit, random_seed=5)["posterior"]["cost"]
    sd = found.std(("chain", "draw"))
    assert bool((np.abs(found.mean(("chain", "draw")) - expected) < 4.0 * sd / np.sqrt(400)).all())
    assert bool((np.abs(example_log["cost"].mean("query") - expected) > 10.0 * sd / np.sqrt(400)).all())


def test_margins_count_the_new_queries(example_fit, example_log, three):
    """All new confidences fall into one segment of each stage, whose share grows accordingly."""
    margins = margins_and_scalings(example_fit["constant_data"].to_dataset())[0]
    segment = [int(np.argsort(m.count)[len(m.count) // 2]) for m in margins]
    middle = np.array([0.5 * (m.low + m.high)[s] for m, s in zip(margins, segment, strict=True)])
    new = three.copy(deep=True)
    new["confidence"][:] = 1.0 / (1.0 + np.exp(-middle))
    new["correct"][:] = np.nan
    after = bc.fit(new, previous=example_fit, random_seed=5)
    old_counts = counted(example_log, example_fit)
    for j, (found, expected) in enumerate(
        zip(margins_and_scalings(after["constant_data"].to_dataset())[0], old_counts, strict=True)
    ):
        np.testing.assert_array_equal(found.count, expected + 3.0 * (np.arange(len(expected)) == segment[j]))
        mass = [fit["margins"]["segment_mass"].mean(("chain", "draw")).values[j] for fit in (example_fit, after)]
        # three in about 300 more, so about 3/303 of mass more
        grown = (mass[1] - mass[0])[segment[j]]
        assert 0.3 * 3 / 303 < grown < 3.0 * 3 / 303, (j, grown)


def test_too_much_news_is_sampled_anew(example_fit, example_log):
    new = renamed(bc.simulate(200, n_stages=3, tau=0.8, intercept=[-2.0, -1.0, 0.0], random_seed=4))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = bc.fit(new, previous=example_fit, random_seed=6, tune=200)
    texts = [str(w.message) for w in seen if issubclass(w.category, CascadeWarning)]
    assert len(seen) == len(texts)
    assert sum("200 new queries move the posterior too far" in text for text in texts) == 1
    assert any("k-hat" in text and "all 500 queries were sampled again" in text for text in texts)
    assert found.attrs["update"] == "sampled anew"
    assert found.attrs["update_k"] > 0.7 or np.isnan(found.attrs["update_k"])
    assert "update_share" not in found.attrs
    direct = quiet_fit(joined(example_log, new), random_seed=6, draws=200, tune=200, chains=2)
    for group in ("posterior", "margins", "observed_data", "constant_data"):
        xr.testing.assert_equal(found[group].to_dataset(), direct[group].to_dataset())
    assert found.attrs["data_hash"] == direct.attrs["data_hash"]


def test_new_queries_without_labels(example_fit, three):
    """They say something of tau and the margins, and nothing of the calibration given those."""
    found = bc.fit(three.assign(correct=three["correct"] * np.nan), previous=example_fit, random_seed=5)
    assert found.attrs["update"] == "reweighted"
    labels = found["log_likelihood"]["correct"].isel(query=slice(300, None))
    assert bool((labels == 0.0).all())
    assert np.isfinite(bc.evaluate(found, THRESHOLDS)["error"]).all()


@pytest.mark.slow
def test_new_confidences_beyond_those_of_the_earlier_fit(hard_fit, hard_log):
    """The rank of a highest confidence has a normal score, where queries have a difficulty, too."""
    seen = hard_log["confidence"].values[:, 1]
    assert 1e-3 < seen.min() < seen.max() < 1.0 - 1e-4
    new = renamed(hard_log.isel(query=[seen.argmin(), seen.argmax()])).copy(deep=True)
    new["confidence"].values[:, 1] = 1e-4, 1.0 - 1e-5
    found = bc.fit(new, previous=hard_fit, random_seed=5)
    assert found.attrs["update"] == "reweighted"
    assert found.attrs["update_k"] < 0.5


def test_new_queries_that_stopped_early(example_fit, example_log, three):
    """A query that ended at the first stage weighs by its label there alone; the copula has no factor in it."""
    new = three.copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        new[name][:, 1:] = np.nan
    new["confidence"][:, 0] = 0.75
    new["correct"][:, 0] = 0.0
    found = bc.fit(new, previous=example_fit, random_seed=5)
    assert found["observed_data"]["confidence"].isnull().sum() == 6
    # small is wrong three times more, so it is believed less; the mean cost of the others is as it was
    level = [fit["posterior"]["intercept"].mean(("chain", "draw")) for fit in (example_fit, found)]
    assert float(level[1][0]) < float(level[0][0])
    costs = found["posterior"]["cost"].mean(("chain", "draw")).values[1:]
    np.testing.assert_allclose(costs, example_log["cost"].mean("query").values[1:], rtol=0.02)


def test_one_update_after_another(example_fit, three):
    """Two updates are one update with all new queries, up to Monte Carlo error."""
    first = renamed(bc.simulate(4, n_stages=3, intercept=[-2.0, -1.0, 0.0], random_seed=11), 2000)
    one = bc.fit(first, previous=example_fit, random_seed=1)
    two = bc.fit(three, previous=one, random_seed=2)
    both = bc.fit(joined(first, three), previous=example_fit, random_seed=3)
    assert two.attrs["n_queries"] == both.attrs["n_queries"] == 307
    assert two.attrs["data_hash"] == both.attrs["data_hash"]
    # copies that the first update left do not count as draws of their own
    assert two.attrs["update_share"] < one.attrs["update_share"]
    np.testing.assert_allclose(two.attrs["update_share"], both.attrs["update_share"], atol=0.15)
    for name in ("tau", "intercept"):
        values = [fit["posterior"][name] for fit in (example_fit, two, both)]
        mean = [v.mean(("chain", "draw")).values for v in values]
        se = values[0].std(("chain", "draw")).values / np.sqrt(400 * both.attrs["update_share"])
        assert np.abs((mean[1] - mean[2]) / se).max() < 4.0
    xr.testing.assert_equal(two["constant_data"].to_dataset(), both["constant_data"].to_dataset())


def test_updates_do_not_wear_the_draws_out(example_fit):
    """With one update after another distinct draws run out; then all is sampled anew, and said so."""
    fit, shares = example_fit, []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for i in range(60):
            new = renamed(bc.simulate(5, n_stages=3, intercept=[-1.5, -0.5, 0.5], random_seed=i), 1000 * (i + 1))
            fit = bc.fit(new, previous=fit, random_seed=i)
            if fit.attrs["update"] == "sampled anew":
                break
            shares.append(fit.attrs["update_share"])
    assert fit.attrs["update"] == "sampled anew"
    assert any("were sampled again" in str(w.message) for w in seen)
    assert min(shares) >= 0.1
    assert fit["posterior"]["tau"].to_series().nunique() > 700


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            lambda log: log.isel(stage=[0, 1]),
            r"the new queries are for stages \['small', 'medium'\], but the fit is",
        ),
        (
            lambda log: log.isel(stage=[1, 0, 2]),
            r"are for stages \['medium', 'small', 'large'\], but the fit is for",
        ),
        (
            lambda log: log.assign_coords(stage=["small", "medium", "vast"]),
            r"for stages \['small', 'medium', 'vast'\]",
        ),
        (lambda log: log.assign_attrs(confidence_kind="score"), "are of kind 'score', but the fit's are of kind"),
        (lambda log: log.drop_attrs(), "are of kind None, but the fit's are of kind 'probability'"),
        (
            lambda log: log.assign_coords(query=[7, 1000, 9]),
            r"2 of the new queries are part of the fit already \(first: 7\)",
        ),
        (lambda log: log.assign_coords(query=[1000, 1000, 1001]), "query 1000 occurs 2 times"),
        (lambda log: log.assign_coords(task=("query", ["a", "a", "b"])), "one has tasks and one has not"),
        (lambda log: log.to_dataframe(), "new queries come as a log, an xarray Dataset over query and stage"),
        (lambda log: None, "new queries come as a log"),
        (lambda log: xr.Dataset({"x": 1.0}), "new queries come as a log"),
        (lambda log: log.assign(confidence=log["confidence"] + 3.0), "confidence"),
        (lambda log: log.drop_vars("correct"), "correct"),
    ],
)
def test_new_queries_that_do_not_fit_are_refused(example_fit, three, new, message):
    with pytest.raises(CascadeError, match=message):
        bc.fit(new(three), previous=example_fit, random_seed=1)


def test_earlier_fits_that_cannot_be_updated_are_refused(example_fit, three):
    of_task = example_fit.copy()
    of_task.attrs["task"] = "law"
    with pytest.raises(CascadeError, match="this is the fit of the task 'law' alone; update the fit of all tasks"):
        bc.fit(three, previous=of_task)
    for no_fit, message in ((xr.Dataset(), "Dataset came"), (xr.DataTree(), "is not a bayescascade fit")):
        with pytest.raises(CascadeError, match=message):
            bc.fit(three, previous=no_fit)


def test_how_the_families_were_chosen_is_kept(example_fit, three):
    chosen = example_fit.copy()
    chosen.attrs["copula_choice"] = "auto"
    chosen["comparison"] = xr.DataTree(xr.Dataset({"weight": ("family", [1.0])}))
    found = bc.fit(three, previous=chosen, random_seed=1)
    assert found.attrs["copula_choice"] == "auto"
    xr.testing.assert_identical(found["comparison"].to_dataset(), chosen["comparison"].to_dataset())


def test_an_update_of_a_sample_knows_how_long_the_whole_log_was():
    """And its warnings are of the line that asked for it, not of one in the package."""
    how = {"draws": 20, "tune": 20, "chains": 2, "random_seed": 1, "progressbar": False}
    log = bc.simulate(400, n_stages=3, n_labelled=150, random_seed=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", bc.CascadeWarning)
        fit = bc.fit(log, max_queries=100, difficulty=False, **how)
        new = renamed(bc.simulate(30, n_stages=3, random_seed=2), 1000)
        updated = bc.fit(new, previous=fit, random_seed=1, progressbar=False)
    assert (fit.attrs["n_queries"], updated.attrs["n_queries"]) == (400, 430)
    assert updated.attrs["n_modelled"] == fit.attrs["n_modelled"] + 30 < 430
    assert updated.attrs["update_new"] == 30
    assert {w.filename for w in seen if "did not converge" in str(w.message)} == {__file__}
    told = dict(provenance(updated, None, 0.9))["Queries in the likelihood"]
    assert told.endswith("in place of 430; margins and costs are those of these, too")
