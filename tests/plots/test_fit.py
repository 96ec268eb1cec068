"""Figures draw on what they are given and show what they say."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import bayescascade as bc
from bayescascade.cascade.single_stages import beats_mixtures, beats_singles, single_stages
from bayescascade.display.style import confidence_axis, rounded
from bayescascade.model.margins.segments import build_margin
from bayescascade.plots.fit import plot_links, plot_margins
from bayescascade.posterior.draws import get_draws


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def curve(example_fit):
    return bc.frontier(example_fit, n_points=12)


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_frontier_shows_band_stages_solution_and_scores(example_fit, example_log):
    solution = bc.tune(example_fit, max_cost=0.002)
    ax = bc.plot_frontier(example_fit, solution=solution, log=example_log)
    assert labels(ax) == [
        "90% interval",
        "cascade, expected error",
        "every stage in the cascade",
        "cascade, scored on the fit's own log",
        "single stage",
        "chosen thresholds",
    ]
    assert [text.get_text() for text in ax.texts] == ["small", "medium", "large"]
    assert ax.get_xscale() == "log"
    assert "cost" in ax.get_xlabel()
    ax.figure.canvas.draw()


def test_the_legend_says_whose_log_was_scored(example_fit, example_log, curve):
    other = example_log.isel(query=slice(150))
    assert "cascade, scored on another log" in labels(bc.plot_frontier(example_fit, log=other))
    assert "cascade, scored on the log" in labels(
        bc.plot_frontier(curve, log=other)
    )  # which has no log of its own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda log: log.isel(stage=[0, 2]),
            "the log has the stages 'small', 'large', but the fit has 'small', 'm",
        ),
        (
            lambda log: log.assign(confidence=100.0 * log["confidence"]).assign_attrs(confidence_kind="percent"),
            "the log's confidences are of kind 'percent', but the fit's are 'probability'",
        ),
    ],
)
def test_a_log_of_another_cascade_is_refused(example_fit, example_log, change, message):
    with pytest.raises(bc.CascadeError, match=message):
        bc.plot_frontier(example_fit, log=change(example_log))


def test_a_solution_of_another_fit_is_refused(example_fit):
    solution = bc.tune(bc.reprice(example_fit, factor=3.0), max_error=0.33)
    with pytest.raises(bc.CascadeError, match="the solution was tuned on another fit than the one that came with"):
        bc.plot_frontier(example_fit, solution=solution)


def test_a_frontier_can_be_drawn_without_its_fit(curve):
    ax = bc.plot_frontier(curve)
    assert "single stage" not in labels(ax)
    line = ax.lines[0]
    # nobody pays more for more errors
    np.testing.assert_allclose(line.get_ydata(), curve["error"])


def test_the_promise_stands_apart_from_what_is_expected(example_fit):
    solution = bc.tune(example_fit, max_error=0.33)
    ax = bc.plot_frontier(example_fit, solution=solution)
    (chosen,) = (one for one in ax.lines if one.get_label() == "chosen thresholds")
    mean = float(solution.error.mean())
    np.testing.assert_allclose(chosen.get_ydata(), [mean])
    np.testing.assert_allclose(chosen.get_xdata(), [1000 * float(solution.cost.mean())])
    # the bar is of the same kind as the band: the posterior's, equal-tailed
    ends = ax.containers[-1].lines[2][1].get_segments()[0][:, 1]
    np.testing.assert_allclose(ends, np.quantile(solution.error, [0.05, 0.95]))
    band = ax.collections[0].get_paths()[0].vertices
    near = band[np.abs(band[:, 0] - 1000 * float(solution.cost.mean())).argsort()[:2]]
    np.testing.assert_allclose(np.sort(near[:, 1]), ends, atol=0.01)
    (mark,) = (one for one in ax.lines if "with margin" in str(one.get_label()))
    np.testing.assert_allclose(mark.get_ydata(), [solution.upper_bounds["error"]])
    assert mean < float(mark.get_ydata()[0]) <= 0.33
    assert "limit, 33%" in labels(ax)


def test_an_infeasible_solution_is_not_called_chosen(example_fit):
    solution = bc.tune(example_fit, max_error=0.01)
    assert "nearest thresholds (goal not met)" in labels(bc.plot_frontier(example_fit, solution=solution))


def test_frontier_draws_on_the_axes_it_is_given_and_makes_no_other(curve):
    ax = Figure().subplots()
    assert bc.plot_frontier(curve, ax=ax) is ax
    assert plt.get_fignums() == []


@pytest.mark.parametrize("wrong", [None, 3, "fit.nc"])
def test_frontier_of_something_else_is_refused(wrong):
    with pytest.raises(bc.CascadeError, match="wants a fit or what frontier"):
        bc.plot_frontier(wrong)


def test_reliability_has_a_panel_for_each_stage(example_fit):
    axes = bc.plot_reliability(example_fit)
    assert [ax.get_title() for ax in axes] == [f"{name} (300 labels)" for name in ("small", "medium", "large")]
    assert "P(correct) at an atom" not in labels(axes[0])
    assert "P(correct) at an atom" in labels(axes[2])
    axes[0].figure.canvas.draw()


def test_reliability_of_one_stage_by_name_or_position(example_fit):
    ax = Figure().subplots()
    for stage in ("medium", 1, np.int64(1)):
        (got,) = bc.plot_reliability(example_fit, stage, ax=ax)
        assert got is ax
    assert ax.get_title().startswith("medium")


@pytest.mark.parametrize("stage", ["huge", 3, -1])
def test_reliability_of_an_unknown_stage_is_refused(example_fit, stage):
    with pytest.raises(bc.CascadeError, match="there is no stage"):
        bc.plot_reliability(example_fit, stage)


def test_too_few_axes_are_refused(example_fit):
    with pytest.raises(bc.CascadeError, match="holds 1 Axes, but 3 panels"):
        plot_margins(example_fit, ax=Figure().subplots())


def test_margins_and_links_have_a_panel_each(example_fit):
    assert [ax.get_title() for ax in plot_margins(example_fit)] == ["small", "medium", "large"]
    axes = plot_links(example_fit)
    assert len(axes) == 2
    assert axes[0].get_xlabel() == "rank of small"
    assert axes[0].get_title().startswith("τ = 0.")


def test_plots_leave_the_settings_alone(example_fit, curve):
    before = dict(plt.rcParams)
    bc.plot_frontier(curve)
    bc.plot_reliability(example_fit, 0)
    assert dict(plt.rcParams) == before


def test_a_dollar_in_a_name_starts_no_formula(example_fit):
    renamed = example_fit.copy(deep=True)
    names = ["$x_1$", "^medium{", "large$"]
    for group in ("posterior", "margins", "observed_data", "constant_data"):
        renamed[group] = renamed[group].to_dataset().assign_coords(stage=names)
    ax = bc.plot_frontier(renamed)
    ax.figure.canvas.draw()
    bc.plot_reliability(renamed)[0].figure.canvas.draw()


def test_atoms_far_away_are_drawn_near():
    rng = np.random.default_rng(0)
    margin = build_margin(np.r_[rng.normal(size=200), np.full(80, 16.6)], bounds=(-17.0, 17.0))
    axis = confidence_axis(margin, "probability")
    span = axis.high - axis.low
    assert axis.place(np.array([16.6]))[0] == pytest.approx(axis.high + 0.15 * span)
    assert axis.place(np.array([0.1]))[0] == 0.1


@pytest.mark.parametrize(
    ("confidence", "kind", "text"),
    [
        (0.99968, "probability", "0.9997"),
        (0.21, "probability", "0.21"),
        (1.0, "probability", "1"),
        (1.0 - 2.0**-24, "probability", "1"),
        (-(2.0**-24), "logprob", "0"),
        (-0.0213, "logprob", "-0.021"),
        (-5e-7, "logprob", "-5e-07"),
        (12.0, "score", "12"),
        (-1234.0, "log_likelihood", "-1200"),
        (99.97, "percent", "99.97"),
        (99.7, "percent", "99.7"),
        (85.0, "percent", "85"),
        (37.0, "percent", "37"),
        (100.0, "percent", "100"),
        (12.3, "logprob_gap", "12"),
    ],
)
def test_confidences_have_the_digits_they_need(confidence, kind, text):
    assert rounded(confidence, kind) == text


# ---- pictures of checks


@pytest.fixture(scope="module")
def checks(example_fit):
    return bc.check(example_fit, thresholds=[[0.8, 0.8, -np.inf], [0.9, 0.9, -np.inf]])


@pytest.mark.parametrize(
    ("name", "n_panels", "text"),
    [
        ("convergence", 6, "50% and 90% intervals"),
        ("margins", 3, "small"),
        ("calibration", 3, "medium (300 labels)"),
        ("dependence", 3, "for "),
        ("own signal", 1, ""),
        ("sensitivity", 1, ""),
        ("loo", 2, "labels"),
        ("cascade", 2, ""),
    ],
)
def test_each_check_draws_what_it_looked_at(checks, name, n_panels, text):
    made = checks[name].plot()
    assert len(made) == n_panels
    assert any(text in ax.get_title() for ax in made)
    made[0].figure.canvas.draw()
    given = Figure().subplots(1, n_panels + 1, squeeze=False)
    before = plt.get_fignums()
    drawn = checks[name].plot(given)
    assert list(drawn) == list(given[0, :n_panels])
    assert plt.get_fignums() == before
    assert all(ax.has_data() for ax in drawn[1 if name == "convergence" else 0 :])  # the first holds names only


def test_the_pictures_show_the_tables_numbers(checks):
    (ax,) = checks["own signal"].plot()
    (observed,) = [line for line in ax.lines if line.get_label() == "observed"]
    np.testing.assert_allclose(observed.get_xdata(), checks["own signal"].table["observed"])
    (ax,) = checks["sensitivity"].plot()
    prior = next(line for line in ax.lines if line.get_label() == "prior")
    np.testing.assert_allclose(prior.get_xdata(), checks["sensitivity"].table["prior"])
    axes = checks["loo"].plot()
    assert all(len(ax.collections[0].get_offsets()) == 300 for ax in axes)


def test_pictures_work_from_disk_and_with_names_of_any_kind(example_fit, tmp_path):
    named = example_fit.copy(deep=True)
    names = ["org/$a_very$ long name of a small model, instruct", "org/medium", "other/medium"]
    for group in ("posterior", "margins", "observed_data", "constant_data"):
        named[group] = named[group].to_dataset().assign_coords(stage=names)
    links = [f"{a} > {b}" for a, b in pairwise(names)]
    named["posterior"] = named["posterior"].to_dataset().assign_coords(link=links)
    bc.save_fit(named, tmp_path / "fit.nc")
    for result in bc.check(bc.load_fit(tmp_path / "fit.nc"))[:-1]:
        result.plot()[0].figure.canvas.draw()
        plt.close("all")


def test_a_check_without_a_verdict_has_nothing_to_draw(example_fit):
    with pytest.raises(bc.CascadeError, match="'cascade' has nothing to draw"):
        bc.check(example_fit)["cascade"].plot()


def test_too_few_axes_for_a_check_are_refused(checks):
    with pytest.raises(bc.CascadeError, match="holds 1 Axes, but 3 panels"):
        checks["calibration"].plot(Figure().subplots())


# ---- single stages


def test_a_single_stage_errs_as_the_policy_that_defers_everything_to_it(example_fit):
    inf = np.inf
    found = bc.evaluate(example_fit, [[-inf, -inf, -inf], [inf, -inf, -inf], [inf, inf, -inf]])
    error, cost = single_stages(get_draws(example_fit))
    expected = found["error"].transpose("chain", "draw", "point").values.reshape(error.shape)
    np.testing.assert_allclose(error, expected, atol=1e-6)
    np.testing.assert_allclose(np.cumsum(cost, axis=1)[:, 2], found["cost"].values[..., 2].ravel(), rtol=1e-6)


def test_what_beats_single_stages_and_mixtures():
    singles = (np.array([[0.4, 0.1]] * 4), np.array([[1.0, 10.0]] * 4))
    error, cost = np.array([0.2, 0.3, 0.05, 0.4]), np.array([5.0, 6.0, 11.0, 1.0])
    assert beats_singles(error, cost, singles).tolist() == [True, True, True, False]
    # half way in cost a random mix errs at 0.4 - 0.3 * 4/9 = 0.267; beyond the dearest stage, at 0.1
    assert beats_mixtures(error, cost, singles).tolist() == [True, False, True, False]
    assert beats_singles(error, cost, singles, price=20.0).tolist() == [False, False, False, False]
    assert beats_singles(error, cost, singles, price=30.0)[0]
