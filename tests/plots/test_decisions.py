"""Figures of decisions show the numbers that they are given, and look as they did when they were looked at."""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from scipy.stats import beta, betabinom

import bayescascade as bc
from bayescascade.analysis.label_value import LabelValue
from bayescascade.display.model import region_levels
from bayescascade.model.copulas.family import get_family
from bayescascade.model.copulas.link import Link
from bayescascade.plots.decisions import plot_flow, plot_label_value, plot_promise, plot_thresholds
from bayescascade.plots.fit import plot_frontier, plot_links, plot_margins
from bayescascade.signals.kinds import to_signal
from bayescascade.tuning.solution import SafetyMargin, ThresholdSolution

BASELINES = Path(__file__).parents[1] / "images"
STAGES = ["small", "medium", "large"]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def hand_made_frontier():
    """A frontier of five points whose numbers are easy to follow on a picture."""
    cost = np.array([0.001, 0.002, 0.004, 0.006, 0.01])
    error = np.array([0.5, 0.36, 0.26, 0.22, 0.2])
    inf = np.inf
    return xr.Dataset(
        {
            "error": ("point", error),
            "error_low": ("point", error - 0.03),
            "error_high": ("point", error + 0.04),
            "cost": ("point", cost),
            "price": ("point", [0.0, 0.01, 0.04, 0.1, inf]),
            "threshold": (
                ("point", "stage"),
                [[-inf, -inf, -inf], [0.5, -inf, -inf], [0.7, 0.6, -inf], [0.9, 0.8, -inf], [inf, inf, -inf]],
            ),
        },
        coords={"stage": STAGES},
        attrs={"ci_prob": 0.8, "confidence_kind": "probability"},
    )


def hand_made_solution(**options):
    """Errors spread as a beta distribution by its quantiles; reach 1, 0.6, 0.25."""
    quantiles = (np.arange(200) + 0.5) / 200
    error = beta.ppf(quantiles, 30, 120).reshape(2, 100)
    reach = np.stack(
        [np.ones((2, 100)), np.broadcast_to(np.linspace(0.55, 0.65, 100), (2, 100)), np.full((2, 100), 0.25)],
        axis=-1,
    )
    over = {"dims": ("chain", "draw")}
    given = {
        "thresholds": xr.DataArray([0.8, 0.7, -np.inf], dims="stage", coords={"stage": STAGES}),
        "error": xr.DataArray(error, **over),
        "cost": xr.DataArray(np.full((2, 100), 0.01), **over),
        "reach": xr.DataArray(reach, dims=("chain", "draw", "stage"), coords={"stage": STAGES}),
        "feasible": True,
        "goal": {"max_error": 0.25, "prob": 0.9},
        "kept": 0.93,
        "text": "made by hand",
        "confidence_kind": "probability",
    }
    return ThresholdSolution(**(given | options))


def hand_made_labels():
    sizes, parts = np.array([25, 50, 100]), np.array([[0.1, 0.18, 0.25], [0.02, 0.05, 0.06]])
    data = xr.Dataset(
        {"evsi": (("labelled", "n_labels"), parts), "evsi_mcse": (("labelled", "n_labels"), parts / 10)},
        coords={"labelled": ["all stages", "small"], "n_labels": sizes},
    )
    return LabelValue(data, 0.4, None, None, "made by hand")


# ---- pictures


PICTURES = {
    "frontier": lambda ax: plot_frontier(hand_made_frontier(), ax=ax),
    "thresholds": lambda ax: plot_thresholds(hand_made_frontier(), ax=ax),
    "flow": lambda ax: plot_flow(hand_made_solution(), ax=ax),
    "promise": lambda ax: plot_promise(hand_made_solution(), ax=ax, batch=100),
    "label_value": lambda ax: plot_label_value(hand_made_labels(), ax=ax),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_look_as_they_did(name, tmp_path):
    """To take new ones, look at what `write_baselines` draws, and commit it."""
    draw(name, tmp_path / f"{name}.png")
    # tolerance: letters differ by a pixel between versions of FreeType; a line that moves makes more than 10
    found = compare_images(str(BASELINES / f"{name}.png"), str(tmp_path / f"{name}.png"), tol=6.0)
    assert found is None, found


def draw(name, path):
    with plt.rc_context({**plt.rcParamsDefault, "backend": "agg"}):
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        PICTURES[name](figure.subplots())
        figure.savefig(path, dpi=50, metadata={"Software": None})


def write_baselines():
    BASELINES.mkdir(exist_ok=True)
    for name in PICTURES:
        draw(name, BASELINES / f"{name}.png")


def test_a_changed_picture_is_noticed(tmp_path):
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    plot_flow(hand_made_solution(reach=hand_made_solution().reach * 0.8), ax=figure.subplots())
    figure.savefig(tmp_path / "flow.png", dpi=50)
    assert compare_images(str(BASELINES / "flow.png"), str(tmp_path / "flow.png"), tol=6.0) is not None


# ---- thresholds by price


def line(ax, label):
    return next(one for one in ax.lines if one.get_label() == label)


def test_thresholds_stand_at_their_prices_and_the_ends_are_named():
    ax = plot_thresholds(hand_made_frontier(), ax=Figure().subplots())
    x, y = line(ax, "medium").get_data()
    np.testing.assert_allclose(x, [0.01, 0.04, 0.1])
    np.testing.assert_allclose(y[1:], to_signal(np.array([0.6, 0.8]), "probability"))
    assert y[0] < y[1]
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert "accept all" in names
    assert "defer all" not in names
    assert ax.get_ylabel() == "threshold: confidence (probability)"
    assert not [one for one in ax.lines if one.get_label() == "large"]


def test_thresholds_of_a_fit_are_those_of_tune_inside_the_band(example_fit):
    ax = plot_thresholds(example_fit, ci_prob=0.95)
    x, y = line(ax, "small").get_data()
    for price in (0.005, 0.02, 0.05):
        tuned = bc.tune(example_fit, error_price=price).thresholds.values[0]
        at = np.interp(np.log(price), np.log(x), y)
        assert at == pytest.approx(to_signal(np.array([tuned]), "probability")[0], abs=0.35)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() < y[len(y) // 2] < band[:, 1].max()


def test_thresholds_of_something_else_are_refused(example_fit):
    with pytest.raises(bc.CascadeError, match="wants a fit or what frontier"):
        plot_thresholds([0.8, 0.7])
    ends = hand_made_frontier().isel(point=[0, -1])
    with pytest.raises(bc.CascadeError, match="no point of this frontier has a price"):
        plot_thresholds(ends)


# ---- flow


def test_bars_of_the_flow_lie_end_to_end():
    ax = plot_flow(hand_made_solution(), ax=Figure().subplots())
    deferred, answered = ax.containers[:2]
    begin, width = ([getattr(bar, f"get_{name}")() for bar in answered] for name in ("x", "width"))
    np.testing.assert_allclose(width, [0.4, 0.35, 0.25])
    np.testing.assert_allclose(np.add(begin, width), [0.4, 0.75, 1.0])
    np.testing.assert_allclose([bar.get_x() + bar.get_width() for bar in deferred], 1.0)
    assert [text.get_text() for text in ax.texts] == ["40.0% of 100.0%", "35.0% of 60.0%", "25.0% of 25.0%"]


def test_a_joint_of_the_flow_has_one_interval_that_of_all_answered_so_far():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.3, 0.5, (2, 100)), rng.uniform(0.2, 0.3, (2, 100))
    reach = np.stack([np.ones((2, 100)), 1.0 - first, 1.0 - first - second], axis=-1)
    solution = hand_made_solution(
        reach=xr.DataArray(reach, dims=("chain", "draw", "stage"), coords={"stage": STAGES})
    )
    ax = plot_flow(solution, ax=Figure().subplots(), ci_prob=0.8)
    (bars,) = (c for c in ax.containers if "interval" in str(c.get_label()))
    segments = bars.lines[2][0].get_segments()
    # two joints between three stages; the end at 100% is certain
    expected = [np.quantile(part, [0.1, 0.9]) for part in (first, first + second)]
    np.testing.assert_allclose([segment[:, 0] for segment in segments], expected)


def test_flow_takes_what_evaluate_returns(example_fit):
    found = bc.evaluate(example_fit, [0.8, 0.7, -np.inf])
    ax = plot_flow(found, ax=Figure().subplots())
    share = float((found["reach"][..., 0] - found["reach"][..., 1]).mean())
    assert ax.texts[0].get_text() == f"{share:.1%} of 100.0%"
    with pytest.raises(bc.CascadeError, match="one threshold vector, but 2 came"):
        plot_flow(bc.evaluate(example_fit, [[0.8, 0.7, -np.inf], [0.9, 0.7, -np.inf]]))
    with pytest.raises(bc.CascadeError, match="wants what tune or evaluate returns"):
        plot_flow([1.0, 0.5])


def test_flow_says_that_some_are_left_unanswered():
    abstained = xr.DataArray(np.full((2, 100), 0.1), dims=("chain", "draw"))
    ax = plot_flow(hand_made_solution(abstained=abstained), ax=Figure().subplots())
    assert any("left unanswered" in text for text in ax.get_legend_handles_labels()[1])


# ---- promise


def test_the_promise_is_the_share_of_draws_and_of_batches():
    solution = hand_made_solution()
    ax = plot_promise(solution, ax=Figure().subplots(), batch=100)
    x, long_run = line(ax, "long-run error").get_data()
    # 200 quantiles of a beta distribution: its distribution function to half a step, and with binomial noise the
    # beta-binomial one
    np.testing.assert_allclose(long_run, beta.cdf(x, 30, 120), atol=0.0026)
    _, batch = line(ax, "share wrong of the next 100").get_data()
    np.testing.assert_allclose(batch, betabinom.cdf(np.floor(x * 100 + 1e-9), 100, 30, 120), atol=0.002)
    mark = next(one for one in ax.lines if str(one.get_label()).startswith("asked for"))
    np.testing.assert_allclose(mark.get_data(), [[0.25], [0.9]])


def test_a_promise_with_a_margin_shows_both_accounts():
    solution = hand_made_solution()
    wide = SafetyMargin(solution.error + 0.05, 1.0)
    ax = plot_promise(replace(solution, margin=wide), ax=Figure().subplots())
    x, believed = line(ax, "long-run error by the model alone").get_data()
    _, with_margin = line(ax, "long-run error, with safety margin").get_data()
    np.testing.assert_allclose(believed, beta.cdf(x, 30, 120), atol=0.0026)
    np.testing.assert_allclose(with_margin, beta.cdf(x - 0.05, 30, 120), atol=0.0026)
    assert wide.bound(0.9) == pytest.approx(beta.ppf(0.9, 30, 120) + 0.05, abs=1e-3)


def test_a_promise_takes_the_batch_of_its_goal():
    solution = hand_made_solution(goal={"max_error": 0.25, "prob": 0.9, "batch": 40})
    assert line(plot_promise(solution, ax=Figure().subplots()), "share wrong of the next 40")
    priced = plot_promise(hand_made_solution(goal={"error_price": 1.0}), ax=Figure().subplots())
    assert [one.get_label() for one in priced.lines] == ["long-run error"]


def test_promises_of_something_else_are_refused():
    with pytest.raises(bc.CascadeError, match="wants what tune returns; float came"):
        plot_promise(0.3)
    with pytest.raises(bc.CascadeError, match="batch"):
        plot_promise(hand_made_solution(), batch=0)
    with pytest.raises(bc.CascadeError, match="wants what label_value returns"):
        plot_label_value(0.3)


# ---- margins and links


def test_one_margin_or_link_on_one_axes(example_fit):
    ax = Figure().subplots()
    assert list(plot_margins(example_fit, "medium", ax=ax)) == [ax]
    assert ax.get_title() == "medium"
    ax = Figure().subplots()
    assert list(plot_links(example_fit, "medium > large", ax=ax)) == [ax]
    assert ax.get_xlabel() == "rank of medium"
    with pytest.raises(bc.CascadeError, match="no link 'small > large'"):
        plot_links(example_fit, "small > large")
    with pytest.raises(bc.CascadeError, match="no stage 3"):
        plot_margins(example_fit, 3)


def test_regions_hold_their_share_of_draws():
    """Against a million draws of a Frank copula, by its own quantile function."""
    family, tau, n, rng = get_family("frank"), np.array([0.5]), 200, np.random.default_rng(0)
    middle = (np.arange(n) + 0.5) / n
    density = Link(family, tau).pdf(middle[None, None, :], middle[None, :, None])[0]
    u, p = rng.uniform(size=(2, 1_000_000))
    drawn = family.pdf(u, family.hinv1(p, u, 0.5), 0.5)
    shares = (0.25, 0.5, 0.75)
    for share, level in zip(shares, region_levels(density, shares)[::-1], strict=True):
        assert np.mean(drawn >= level) == pytest.approx(share, abs=0.005)
