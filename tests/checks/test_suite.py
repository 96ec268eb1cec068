"""Each check passes on logs from the model, and fails on the departure that it is there to find."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.fits import stored_fit

import bayescascade as bc
from bayescascade.checks import evidence as ev
from bayescascade.checks.calibration import bin_signals
from bayescascade.checks.results import CheckResult, CheckResults
from bayescascade.posterior.draws import get_draws

NAMES = [
    *("convergence", "margins", "calibration", "dependence", "own signal", "sensitivity", "loo", "cascade"),
]
OF_THE_MODEL = NAMES[1:6]
INF = np.inf


def quick_fit(log, **options):
    """Small and always with three stages, so that the compiled model is shared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        return stored_fit(
            log, draws=150, tune=200, chains=2, random_seed=3, progressbar=False, **{"difficulty": False} | options
        )


def changed(log, **values):
    return log.assign({name: (("query", "stage"), array) for name, array in values.items()})


def logit(p):
    return np.log(p) - np.log1p(-p)


def expit(x):
    return 1.0 / (1.0 + np.exp(-x))


@pytest.fixture(scope="module")
def example_checks(example_fit):
    return bc.check(example_fit, thresholds=[0.8, 0.8, -INF])


def test_every_check_gives_a_verdict_a_table_and_a_text(example_checks):
    assert [result.name for result in example_checks] == NAMES
    for result in example_checks:
        assert isinstance(result.passed, bool)
        assert not result.table.empty
        assert result.text.endswith(".")
        assert result.text[0].isupper() or result.text[0].isdigit()


@pytest.mark.parametrize("name", [*OF_THE_MODEL, "loo", "cascade"])
def test_a_log_from_the_model_passes(example_checks, name):
    assert example_checks[name].passed, example_checks[name]


def test_convergence_says_how_many_draws_it_wants(example_checks, example_fit):
    result = example_checks["convergence"]
    assert set(result.table.columns) == {"r_hat", "ess_bulk", "ess_tail", "mcse_mean"}
    assert {"tau", "intercept", "cost"} <= set(result.table.index)
    assert example_fit.children["sample_stats"]["diverging"].sum() >= 0


def test_a_diverging_transition_fails_convergence(example_fit):
    broken = example_fit.copy(deep=True)
    broken["sample_stats"]["diverging"][0, 0] = True
    result = bc.check(broken)["convergence"]
    assert result.passed is False
    assert "diverged" in result.text


def test_costs_given_as_prices_are_no_reason_to_warn(example_fit):
    fixed = example_fit.copy(deep=True)
    posterior = fixed["posterior"].to_dataset()
    posterior["cost"][:] = 0.25
    fixed["posterior"] = xr.DataTree(posterior)
    result = bc.check(fixed)["convergence"]  # a warning would be an error here
    assert np.isnan(result.table.loc["cost", "r_hat"])
    assert result.passed == bc.check(example_fit)["convergence"].passed


def ranks_outside(result):
    """Whether a rank line of a panel leaves its band (panel,)."""
    found = []
    for ax in result.plot()[2:]:
        (band,) = ax.patches
        top = band.get_y() + band.get_height()
        found.append(any(np.abs(line.get_ydata()).max() > top for line in ax.lines))
        assert not ax.texts  # no p-value of one panel, which would say nothing of the worst of many
    return np.array(found)


def test_the_picture_of_convergence_says_what_the_check_says(example_fit):
    sound = bc.check(example_fit)["convergence"]
    assert not ranks_outside(sound).any()
    broken = example_fit.copy(deep=True)
    broken["posterior"]["slope"][0] += 0.5
    failed = bc.check(broken)["convergence"]
    assert failed.passed is False
    assert ranks_outside(failed).any()


def test_chains_that_disagree_fail_convergence(example_fit):
    broken = example_fit.copy(deep=True)
    broken["posterior"]["tau"][0] += 0.2
    result = bc.check(broken)["convergence"]
    assert result.passed is False
    assert "tau" in result.text


@pytest.mark.parametrize(
    ("name", "value", "text", "advice"),
    [
        ("reached_max_treedepth", True, "of the trees reached their depth limit", "longer tune"),
        ("energy", np.arange(200.0), "E-BFMI is 0.00, below 0.3", "longer tune (1000)"),
    ],
)
def test_what_the_sampler_does_not_say_fails_convergence(example_fit, name, value, text, advice):
    broken = example_fit.copy(deep=True)
    stats = broken["sample_stats"].to_dataset()
    stats[name] = stats[name].copy(data=np.broadcast_to(value, stats[name].shape))
    broken["sample_stats"] = xr.DataTree(stats)
    result = bc.check(broken)["convergence"]
    assert result.passed is False
    assert text in result.text
    assert advice in result.text


def test_reweighted_draws_are_not_judged_as_a_path(example_fit):
    updated = example_fit.copy()
    updated.attrs |= {"update": "reweighted"}
    assert "E-BFMI" not in bc.check(updated)["convergence"].text


def test_signals_from_elsewhere_fail_margins(example_fit):
    broken = example_fit.copy(deep=True)
    confidence = broken["observed_data"]["confidence"]
    confidence[:, 1] = expit(logit(np.clip(confidence[:, 1], 1e-6, 1 - 1e-6)) + 1.5)
    result = bc.check(broken)["margins"]
    assert result.passed is False
    assert "medium" in result.text
    assert result.table["inside"].to_dict() == {"small": "yes", "medium": "no", "large": "yes"}


@pytest.mark.slow
def test_accuracy_that_does_not_rise_fails_calibration():
    log = bc.simulate(300, random_seed=5)
    z = logit(log["confidence"].values)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    right = log["correct"].values.copy()
    right[:, 1] = np.abs(z[:, 1]) < 0.7
    result = bc.check(quick_fit(changed(log, correct=right)))["calibration"]
    assert result.passed is False
    assert "medium" in result.text
    assert result.table.loc[("medium", "curve"), "p"] < 0.001 < result.table.loc[("small", "curve"), "p"]


def test_a_dependence_that_the_copula_cannot_have_fails():
    log = bc.simulate(300, tau=0.5, random_seed=6)
    confidence = log["confidence"].values.copy()
    confidence[:, 2] = expit(-logit(confidence[:, 2]) + 4)
    result = bc.check(quick_fit(changed(log, confidence=confidence)))["dependence"]
    assert result.passed is False
    assert "tau of medium > large" in result.text
    assert result.table.loc[("small > medium", "tau"), "p"] > 0.01


def test_a_dependence_of_second_order_fails():
    rng = np.random.default_rng(7)
    a, b, noise = rng.normal(size=(3, 300))
    signal = np.stack([a, 0.4 * a + b, 0.7 * a + 0.4 * b + 0.6 * noise], axis=1)
    log = changed(bc.simulate(300, random_seed=7), confidence=expit(signal))
    checks = bc.check(quick_fit(log))
    assert checks["dependence"].passed is False
    assert "tau of small > large" in checks["dependence"].text
    assert "difficulty=True" in checks["dependence"].text
    assert checks["own signal"].passed


def test_correctness_that_depends_on_the_previous_signal_fails_own_signal():
    log = bc.simulate(300, tau=0.3, random_seed=8)
    rng = np.random.default_rng(8)
    z = logit(log["confidence"].values)
    right = log["correct"].values.copy()
    right[:, 2] = rng.uniform(size=300) < expit(1.6 * (z[:, 1] - 1.8))
    checks = bc.check(quick_fit(changed(log, correct=right)))
    assert checks["own signal"].passed is False
    assert "large" in checks["own signal"].text
    assert checks["dependence"].passed


def deferred(log, threshold=0.75):
    """The log as production would have it: a stage runs only after a deferral."""
    confidence = log["confidence"].values.copy()
    for j in (1, 2):
        stopped = ~(confidence[:, j - 1] < threshold)
        confidence[stopped, j] = np.nan
    keep = np.isfinite(confidence)
    return log.assign(
        confidence=(("query", "stage"), confidence), **{v: log[v].where(keep) for v in ("correct", "cost")}
    )


def test_a_log_with_deferrals_is_judged_on_what_ran_and_not_scored():
    log = deferred(bc.simulate(500, random_seed=9))
    checks = bc.check(quick_fit(log), thresholds=[0.9, 0.9, -INF])
    assert checks["margins"].table["given"].to_dict() == {"small": "", "medium": "small", "large": "medium"}
    n = log["confidence"].notnull().all("stage").sum().item()
    of_pair = checks["dependence"].table["queries"]
    assert (
        of_pair["small > large", "tau"] == of_pair["medium > large", "tau"] == n < of_pair["small > medium", "tau"]
    )
    assert all(checks[name].passed for name in OF_THE_MODEL), checks
    assert checks["cascade"].passed is None
    assert "cannot be scored" in checks["cascade"].text


def test_calls_that_timed_out_do_not_keep_a_log_from_being_scored():
    log = bc.simulate(300, random_seed=9)
    lost = xr.DataArray(np.arange(300) % 50 == 3, dims="query")  # 2% of the queries, at one stage
    here = lost & (log["stage"] == "large")
    log = log.assign({name: log[name].where(~here) for name in ("confidence", "correct", "cost")})
    result = bc.check(quick_fit(log), thresholds=[0.9, 0.9, -INF])["cascade"]
    assert result.passed is True
    assert 294 <= int(result.text.split("on the ")[1].split()[0]) < 300


def test_a_log_with_few_labels_is_not_judged_on_labels():
    log = bc.simulate(200, n_labelled=12, random_seed=10)
    checks = bc.check(quick_fit(log), thresholds=[0.8, 0.8, -INF])
    assert checks["calibration"].passed is None
    # error and cost are those of the queries whose answers somebody graded
    labelled = log.isel(query=log["correct"].notnull().all("stage").values)
    scored = bc.score(labelled, [0.8, 0.8, -INF])
    observed = checks["cascade"].table["observed"]
    assert observed[0, "error"] == pytest.approx(float(scored["error"]))
    assert observed[0, "cost of 1,000 queries"] == pytest.approx(1000.0 * float(scored["cost"]))
    assert "the 12 queries" in checks["cascade"].text or "the 12 labelled queries" in checks["cascade"].text
    assert "Label more queries" in checks["calibration"].text
    assert checks["dependence"].passed is not None


def test_a_check_that_has_nothing_to_work_on_gives_no_verdict(example_fit):
    lean = example_fit.copy()
    del lean["log_likelihood"]
    checks = bc.check(lean)
    assert checks["loo"].passed is None
    assert "log_likelihood=True" in checks["loo"].text
    assert checks["cascade"].passed is None
    assert "thresholds" in checks["cascade"].text


def test_error_and_cost_far_from_the_log_fail_cascade(example_fit):
    broken = example_fit.copy(deep=True)
    broken["observed_data"]["correct"][:] = 0.0
    result = bc.check(broken, thresholds=[[0.8, 0.8, -INF], [-INF, -INF, -INF]])["cascade"]
    assert result.passed is False
    assert result.table["inside"].to_dict()[(0, "error")] is False
    assert result.table["inside"].to_dict()[(0, "cost of 1,000 queries")] is True
    assert "of the fit's own log is 100.0%, outside the 99% predictive interval" in result.text


def test_cascade_has_the_cost_of_a_thousand_queries(example_fit):
    """As every other table that people see."""
    rule = [0.8, 0.8, -INF]
    table = bc.check(example_fit, thresholds=rule)["cascade"].table
    log = example_fit["observed_data"].to_dataset()
    log = log.assign_attrs(confidence_kind=example_fit.attrs["confidence_kind"])
    shown = table.loc[(0, "cost of 1,000 queries"), "observed"]
    assert shown == pytest.approx(1000 * float(bc.score(log, rule)["cost"]))


def test_the_same_seed_gives_the_same_tables(example_fit):
    first, second = (bc.check(example_fit, random_seed=4) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(a.table, b.table)


def test_what_is_not_a_fit_is_refused():
    with pytest.raises(bc.CascadeError, match="a fit is an"):
        bc.check(xr.Dataset())


def test_thresholds_of_wrong_length_are_refused(example_fit):
    with pytest.raises(bc.CascadeError, match="one for each of the 3 stages"):
        bc.check(example_fit, thresholds=[0.5, -INF])


# ---- queries with a difficulty


@pytest.mark.parametrize("thin", [False, True])
@pytest.mark.slow
def test_a_fit_that_knows_of_the_difficulty_passes(hard_fit, hard_log, thin):
    """Also where later stages ran only after a deferral, which selects queries by their difficulty."""
    if thin:
        hard_fit = hard_fit.copy(deep=True)
        hard_fit["observed_data"] = xr.DataTree(deferred(hard_log, 0.8))
    checks = bc.check(hard_fit, thresholds=[0.8, 0.8, -INF])
    assert [result.name for result in checks] == NAMES
    for name in OF_THE_MODEL[:-1] if thin else [*OF_THE_MODEL, "loo", "cascade"]:
        assert checks[name].passed, checks[name]
    table = checks["dependence"].table
    assert set(table.index.get_level_values("pair")) == {"small > medium", "small > large", "medium > large"}
    assert "family" not in table.index.get_level_values("statistic")
    for result in checks:
        if result.picture is not None:
            result.plot()[0].figure.canvas.draw()


@pytest.mark.slow
def test_a_fit_that_does_not_know_of_it_fails_and_says_what_to_do():
    log = bc.simulate(800, copula="gaussian", tau=0.0, loading=0.8, discrimination=[0.0, 0.0, 3.0], random_seed=2)
    checks = bc.check(quick_fit(log, copula="gaussian"))
    assert checks["dependence"].passed is False
    assert "tau of small > large" in checks["dependence"].text
    assert checks["own signal"].passed is False
    for name in ("dependence", "own signal"):
        assert "fit again with difficulty=True, and score" in checks[name].text


@pytest.mark.slow
@pytest.mark.slow
def test_what_a_difficulty_cannot_say_fails_too():
    """Stages that are surer where an earlier one is less sure, and the worse for it."""
    rng = np.random.default_rng(3)
    log = bc.simulate(600, copula="gaussian", tau=0.0, random_seed=3)
    z = logit(log["confidence"].values)
    z[:, 2] -= 0.8 * (z[:, 0] - 1.0)
    right = log["correct"].values.copy()
    right[:, 2] = rng.uniform(size=600) < expit(1.6 * (1.8 - z[:, 1]))
    checks = bc.check(quick_fit(changed(log, correct=right, confidence=expit(z)), difficulty=True))
    # a short run may find two accounts of it, of which neither is right: then its chains disagree
    assert False in (checks["dependence"].passed, checks["convergence"].passed)
    assert checks["own signal"].passed is False
    assert "difficulty=True" not in checks["dependence"].text + checks["own signal"].text


# ---- what a check hands back


def some_results():
    table = pd.DataFrame({"a": [1.0]})
    return CheckResults(
        [
            CheckResult("first", True, table, "All is well."),
            CheckResult("<b>", None, pd.DataFrame(), "Not computed."),
        ]
    )


def test_results_are_found_by_name_and_position():
    results = some_results()
    assert results["first"] is results[0]
    assert results[-1].name == "<b>"
    assert len(results[:1]) == 1
    with pytest.raises(KeyError, match="these ran: 'first'"):
        results["third"]


def test_no_verdict_neither_passes_nor_fails():
    results = some_results()
    assert results.passed is True
    assert results[1:].passed is None
    assert results.table["passed"].tolist() == [True, None]
    failed = CheckResults([*results, CheckResult("bad", False, pd.DataFrame(), "It is not.")])
    assert failed.passed is False


def test_results_read_as_text_and_as_html():
    results = some_results()
    assert repr(results) == "first: passed. All is well.\n<b>: skipped. Not computed."
    assert "&lt;b&gt;" in results._repr_html_()
    assert "<td><b>" not in results._repr_html_()
    assert "&lt;b&gt;" in results[1]._repr_html_()


# ---- the parts


def test_cdf_and_quantile_undo_each_other(example_fit):
    few = get_draws(example_fit).thin(5)
    for stage in range(3):
        level = np.random.default_rng(stage).uniform(size=(5, 40))
        signal = few.quantile(stage, level)
        for draw in range(5):
            low, high = (x[draw] for x in few.cdf(stage, signal[draw]))
            assert np.all(low <= level[draw] + 1e-9)
            assert np.all(level[draw] <= high + 1e-9)
            free = low == high
            np.testing.assert_allclose(low[free], level[draw][free], atol=1e-9)


def test_large_atoms_are_bins_of_their_own():
    signal = np.r_[np.linspace(0, 1, 60), np.full(40, 2.0), np.full(2, 0.5)]
    number = bin_signals(signal, np.array([0.5, 2.0]))
    assert len(np.unique(number[60:100])) == 1
    assert not np.isin(number[:60], number[60]).any()
    assert number.max() == 2
    assert np.array_equal(bin_signals(np.ones(30), np.array([1.0])), np.zeros(30))


def test_p_values_of_what_cannot_vary_are_not_computed():
    same = np.full(50, 0.3)
    assert np.isnan(ev.two_sided(0.3, same))
    assert ev.two_sided(0.4, same) == 0.0
    assert np.isnan(ev.two_sided(np.nan, same))
    assert np.isnan(ev.tail_area(0.3, same))
    assert ev.tail_area(0.2, same) == 0.0
    normal = np.random.default_rng(0).normal(size=400)
    assert ev.two_sided(0.0, normal) > 0.9
    assert ev.two_sided(5.0, normal) < 1e-5
