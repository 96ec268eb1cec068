"""Long logs: which queries are kept, and that what is kept says what the whole log says."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.stats import beta, norm

import bayescascade as bc
from bayescascade.inference.margin_draws import draw_margins
from bayescascade.inference.pointwise import log_likelihood_of
from bayescascade.inference.predictive import prior
from bayescascade.model.design import build_design
from bayescascade.model.margins.tree import N_LEAVES, tree_paths
from bayescascade.model.options import check_options
from bayescascade.model.subsample import fair, subsample

HARD = {"copula": "gaussian", "tau": 0.2, "loading": 0.6, "discrimination": 0.9, "unanswerable": 0.03}


def options_of(difficulty, n_stages=2):
    return check_options(None, "polya_tree", "logistic", n_stages - 1, difficulty)


def labelled_where_unsure(log):
    """Labels of those queries alone whose first confidence is below its median: a log of feedback."""
    first = log["confidence"].transpose("query", "stage").values[:, 0]
    return log.assign(correct=log["correct"].where(xr.DataArray(first < np.median(first), dims="query")))


def test_a_sample_of_all_queries_and_the_labelled_ones_are_kept():
    log = bc.simulate(5000, n_stages=2, n_labelled=700, random_seed=1)
    kept = subsample(log, 1000, 3)
    labelled = kept["correct"].notnull().any("stage").values
    assert fair(kept).sum() == 1000
    assert labelled.sum() == 700  # all that there are
    assert 80 < (labelled & fair(kept)).sum() < 200  # 140 are expected in the sample
    assert kept.sizes["query"] == 1000 + 700 - (labelled & fair(kept)).sum()
    assert (np.diff(kept["query"].values) > 0).all()
    # those with a label stand for those with one, and the others for the others
    represents = kept["represents"].values
    assert represents[labelled].sum() == pytest.approx(700)
    assert represents.sum() == pytest.approx(5000)
    xr.testing.assert_identical(kept, subsample(log, 1000, 3))
    assert not kept["query"].equals(subsample(log, 1000, 4)["query"])


def test_of_very_many_labels_so_many_are_kept_and_those_of_the_sample_first():
    log = bc.simulate(3000, n_stages=2, random_seed=1)
    kept = subsample(log, 400, 3)
    assert kept.sizes["query"] == 400
    assert fair(kept).all()
    assert subsample(log, 100, 3).sizes["query"] == 100


def test_a_short_log_stays_as_it_is():
    log = bc.simulate(200, n_stages=2, random_seed=1)
    assert subsample(log, 200, 1) is log
    assert fair(log).all()


@pytest.mark.parametrize("number", [99, 500.0, "many", None])
def test_a_number_that_is_too_small_or_none_is_refused(number):
    with pytest.raises(bc.CascadeError, match="max_queries"):
        subsample(bc.simulate(300, n_stages=2, random_seed=1), number, 1)


def test_each_task_has_its_share_and_at_least_two_hundred():
    logs = {
        "law": bc.simulate(3000, n_stages=2, random_seed=1),
        "tax": bc.simulate(300, n_stages=2, random_seed=2),
    }
    kept = subsample(bc.combine_tasks(logs), 600, 1)
    task = kept["task"].values
    assert {name: int((task == name).sum()) for name in logs} == {"law": 545, "tax": 200}
    assert kept["represents"].values[task == "tax"].sum() == pytest.approx(300)


@pytest.mark.parametrize("difficulty", [False, True])
def test_queries_beside_the_sample_count_by_their_labels_given_their_signals(difficulty):
    """log p(labels | signals) = log p(signals, labels) - log p(signals), each from a design of its own."""
    log = bc.simulate(60, n_stages=3, top_atom=[0.2, 0.0, 0.1], random_seed=2, **HARD)
    options = options_of(difficulty, 3)
    both = build_design(log, options)
    none = log.assign(correct=log["correct"].where(log["query"] < 10))  # a stage needs some label
    signals = build_design(none, options, both)
    sampled = np.arange(60) < 25
    kept = log.assign_coords(sampled=("query", sampled.astype(np.int8)))
    mixed = build_design(kept, options, both, whole=log)
    posterior = prior(both, 1).isel(draw=slice(20))
    found = {
        name: log_likelihood_of(posterior, design, np.arange(60))["joint"].values[0]
        for name, design in (("both", both), ("signals", signals), ("mixed", mixed))
    }
    np.testing.assert_allclose(found["mixed"][:, sampled], found["both"][:, sampled], rtol=1e-12)
    given = (found["both"] - found["signals"])[:, ~sampled]
    np.testing.assert_allclose(found["mixed"][:, ~sampled], given, rtol=1e-9, atol=1e-9)
    assert np.abs(given).max() > 0.5


def test_margins_ranks_and_costs_are_those_of_the_whole_log():
    whole = bc.simulate(3000, n_stages=2, top_atom=[0.2, 0.0], n_labelled=300, random_seed=1)
    kept = subsample(labelled_where_unsure(whole), 300, 1)
    options = options_of(True)
    thinned, full = build_design(kept, options, whole=whole), build_design(whole, options)
    for one, other in zip(thinned.margins, full.margins, strict=True):
        np.testing.assert_array_equal(one.low, other.low)
        np.testing.assert_array_equal(one.count, other.count)
    for name in ("ranked", "cost_known"):
        np.testing.assert_array_equal(thinned.arrays[name], full.arrays[name])


def test_ranks_are_counted_among_all_signals():
    whole = bc.simulate(20_000, n_stages=2, top_atom=[0.2, 0.0], random_seed=1, **HARD)
    kept = subsample(whole, 1000, 1)
    arrays = build_design(kept, options_of(True), whole=whole).arrays
    rank = norm.cdf(arrays["point_score"])
    signal, own = (log["confidence"].transpose("query", "stage").values[:, 1] for log in (whole, kept))
    counted = np.searchsorted(np.sort(signal), np.sort(own)) / len(signal)
    found = np.sort(rank[arrays["point_column"] == 1])  # some signals are needed twice
    levels = np.linspace(0.0, 1.0, 50)
    np.testing.assert_allclose(np.quantile(found, levels), np.quantile(counted, levels), atol=5e-4)


def test_margins_are_as_sure_as_the_whole_log_and_go_together_as_the_sample_does():
    whole = bc.simulate(4000, n_stages=2, random_seed=1, **HARD)
    kept = subsample(whole, 1000, 1)
    design = build_design(kept, options_of(True), whole=whole)
    n_splits = design.arrays["split_prior"].shape[2]
    sampled = xr.Dataset(
        {"margin_split": (("chain", "draw", "stage", "split"), np.full((2, 2000, 2, n_splits), 0.4))}
    )
    split, mass = draw_margins(sampled, design, np.random.default_rng(1))
    left, right = tree_paths()
    for column, margin in enumerate(design.margins):
        leaf = np.bincount(margin.leaf, margin.count, minlength=N_LEAVES)
        a, b = design.arrays["split_prior"][:, column]
        posterior = beta(a + leaf @ left, b + leaf @ right)
        used = margin.split_used
        np.testing.assert_allclose(split[:, column, used].mean(0), posterior.mean()[used], atol=0.003)
        np.testing.assert_allclose(split[:, column, used].std(0), posterior.std()[used], rtol=0.08)
    np.testing.assert_allclose(mass.sum(axis=-1), 1.0)
    # two stages that share what queries are hard for them, share which side of the median these are on
    assert np.corrcoef(split[:, 0, 0], split[:, 1, 0])[0, 1] > 0.15


@pytest.fixture(scope="module")
def of_unsure():
    """A log whose labels are those of unsure queries, and the fit of a sample of it."""
    log = bc.simulate(4000, n_stages=3, tau=[0.5, 0.4], random_seed=5)
    how = {"difficulty": False, "draws": 250, "tune": 200, "chains": 2, "random_seed": 1, "progressbar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # so few draws do not satisfy R-hat
        return log, bc.fit(labelled_where_unsure(log), max_queries=500, **how)


def test_labels_of_unsure_queries_bias_nothing(of_unsure):
    log, fit = of_unsure
    assert fit.attrs["n_queries"] == 4000
    assert fit.attrs["n_modelled"] == fit["observed_data"].sizes["query"]
    thresholds = [0.8, 0.85, -np.inf]
    found, seen = bc.evaluate(fit, thresholds), bc.score(log, thresholds)
    for name, rest in (("error", 0.007), ("reach", 0.012)):  # the log's own chance error
        gap = np.abs(found[name].mean(("chain", "draw")) - seen[name])
        assert (gap < 3.0 * np.hypot(found[name].std(("chain", "draw")), rest)).all(), name
    # most kept queries are unsure ones: taken for a fair sample, they would have others defer more
    kept = fit["observed_data"].to_dataset()
    assert (kept["confidence"].isel(stage=0) < 0.8).mean() > (log["confidence"].isel(stage=0) < 0.8).mean() + 0.05


def test_what_is_done_with_a_fit_of_a_sample(of_unsure, tmp_path):
    fit = of_unsure[1]
    bc.save_fit(fit, tmp_path / "fit.nc")
    again = bc.load_fit(tmp_path / "fit.nc")
    np.testing.assert_array_equal(
        fair(again["observed_data"].to_dataset()), fair(fit["observed_data"].to_dataset())
    )
    failed = [result.name for result in bc.check(again) if result.passed is False and result.name != "convergence"]
    assert failed == []
    solution = bc.tune(again, max_error=0.3)
    assert solution.feasible
    bc.report(again, tmp_path / "report.html", solution=solution)
    assert "500 drawn at random" in (tmp_path / "report.html").read_text()
    new = bc.simulate(100, n_stages=3, tau=[0.5, 0.4], random_seed=6).assign_coords(query=np.arange(9000, 9100))
    updated = bc.fit(new, previous=again, random_seed=2, progressbar=False)
    assert updated["observed_data"].sizes["query"] == fit["observed_data"].sizes["query"] + 100
    assert fair(updated["observed_data"].to_dataset()).sum() == 600


@pytest.mark.slow
@pytest.mark.long  # two minutes for a fit of 10,000 queries
def test_the_posterior_of_a_sample_is_that_of_the_whole_log_but_wider():
    log = bc.simulate(10_000, n_stages=2, n_labelled=2000, random_seed=7, **HARD)
    how = {"draws": 150, "tune": 200, "chains": 2, "random_seed": 1, "progressbar": False, "log_likelihood": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        thinned, whole = bc.fit(log, max_queries=3000, **how), bc.fit(log, max_queries=10_000, **how)
    assert "n_modelled" not in whole.attrs
    assert 4000 < thinned.attrs["n_modelled"] < 4800
    for thresholds in ([0.8, -np.inf], [0.95, -np.inf]):
        few, all_ = bc.evaluate(thinned, thresholds), bc.evaluate(whole, thresholds)
        for name in ("error", "cost"):
            sd = float(few[name].std())
            assert abs(float(few[name].mean() - all_[name].mean())) < 1.0 * sd, name
            assert 0.8 < sd / float(all_[name].std()) < 2.0, name


def test_tasks_keep_their_margins_where_the_sample_meets_them_in_another_order():
    log = bc.simulate(3000, n_stages=2, random_seed=1)
    log = log.assign_coords(task=("query", np.where(np.arange(3000) % 5 == 0, "first", "second")))
    high = (log["task"] == "first").values
    log["confidence"][high] = 0.9 + 0.1 * log["confidence"].values[high]
    kept = subsample(log, 400, 1)
    assert kept["task"].values[0] == "second"
    design = build_design(kept, options_of(True), whole=log)
    assert design.tasks == ["first", "second"]
    assert [margin.low[0] > 2.0 for margin in design.margins] == [
        True,
        True,
        False,
        False,
    ]  # logits
    named = np.where(kept["task"].values == "first", 0, 1)
    np.testing.assert_array_equal(design.row_column // 2, named[design.row_query])
