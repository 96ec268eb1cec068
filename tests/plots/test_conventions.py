"""What all pictures share: titles, sizes, ArviZ's settings, per cent, marks and names that are told apart."""

from itertools import combinations

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

import bayescascade as bc
from bayescascade.analysis.label_value import LabelValue
from bayescascade.display import style
from bayescascade.display.value import draw_sensitivity, draw_verdict
from bayescascade.plots.decisions import plot_flow, plot_label_value, plot_promise, plot_thresholds
from bayescascade.plots.fit import plot_links, plot_margins


@pytest.fixture(scope="module")
def solution(example_fit):
    return bc.tune(example_fit, max_error=0.35)


@pytest.fixture(scope="module")
def value():
    import xarray as xr

    numbers = {name: (("labelled", "n_labels"), [[0.1, 0.2]]) for name in ("evsi", "evsi_mcse")}
    data = xr.Dataset(numbers, coords={"labelled": ["all stages"], "n_labels": [25, 50]})
    return LabelValue(data, 9.0, None, None, "")


@pytest.fixture
def single(example_fit, solution, value):
    """Every picture of one Axes, as a function of its options."""
    return {
        "frontier": lambda **options: bc.plot_frontier(example_fit, solution=solution, **options),
        "thresholds": lambda **options: plot_thresholds(example_fit, **options),
        "flow": lambda **options: plot_flow(solution, **options),
        "promise": lambda **options: plot_promise(solution, **options),
        "labels": lambda **options: plot_label_value(value, **options),
    }


def test_one_axes_have_a_title_a_size_and_a_place(single):
    for name, draw in single.items():
        ax = draw(figsize=(5.5, 3.5))
        assert isinstance(ax, plt.Axes), name
        assert ax.get_title(loc="left"), name
        assert ax.figure.get_size_inches() == pytest.approx([5.5, 3.5]), name
        own = Figure().subplots()
        assert draw(ax=own, title="Mine") is own, name
        assert own.get_title(loc="left") == "Mine", name
        assert not draw(title="").get_title(loc="left"), name
        plt.close("all")


@pytest.mark.parametrize("draw", [bc.plot_reliability, plot_margins, plot_links])
def test_a_panel_each_is_an_array_and_has_a_size(example_fit, draw):
    grid = draw(example_fit, figsize=(9.0, 2.5))
    assert isinstance(grid, np.ndarray)
    assert grid[0].figure.get_size_inches() == pytest.approx([9.0, 2.5])
    own = Figure().subplots(1, 3)
    assert list(draw(example_fit, ax=own)) == list(own[: len(grid)])


def test_arvizs_probability_of_intervals_is_taken_where_it_was_set(example_fit):
    def widths(**options):
        ax = bc.plot_frontier(example_fit, **options)
        path = ax.collections[0].get_paths()[0].vertices
        return ax.get_legend_handles_labels()[1][0], np.ptp(path[:, 1])

    label, usual = widths()
    assert label == "90% interval"  # as everywhere in the package, though ArviZ's own default is 89%
    with az.rc_context({"stats.ci_prob": 0.5}):
        label, narrow = widths()
        assert label == "50% interval"
        assert widths(ci_prob=0.9)[0] == "90% interval"
    assert narrow < usual
    with pytest.raises(bc.CascadeError, match="ci_prob"):
        bc.plot_frontier(example_fit, ci_prob=90)


def test_shares_are_in_per_cent(single):
    for name in ("frontier", "promise"):
        ax = single[name]()
        ax.figure.canvas.draw()
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert all(label.endswith("%") for label in labels), name


def luminance(colour):
    parts = np.array(to_rgb(colour))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_the_chosen_point_stands_out(single):
    ax = single["frontier"]()
    mark = next(line for line in ax.lines if line.get_label() == "chosen thresholds")
    assert 1.05 / (luminance(mark.get_color()) + 0.05) >= 3.0  # WCAG 1.4.11, on white
    # and is known by its shape alone: no other mark has it
    others = {line.get_marker() for line in ax.lines if line is not mark} - {"None", "", None}
    assert mark.get_marker() not in others


@pytest.mark.parametrize("colour", style.COLOURS[:4])
def test_lines_stand_out_on_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 3.0


def test_names_of_points_cover_neither_each_other_nor_the_points():
    ax = Figure(figsize=(6, 4), layout="constrained").subplots()
    x, y = np.array([1.0, 1.02, 1.05, 2.0, 2.03]), np.array([0.5, 0.505, 0.495, 0.2, 0.21])
    ax.plot(x, y, "o")
    ax.set(xlim=(0.5, 3), ylim=(0, 1))
    style.name_points(ax, x, y, ["one", "two", "three", "a longer name", "five"])
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    points = ax.transData.transform(np.column_stack([x, y]))
    assert not any(box.contains(*point) for box in boxes for point in points)
    frame = ax.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


@pytest.mark.parametrize("seed", [3, 14, 16])
def test_names_on_a_phone_lie_on_no_marker(seed):
    """A marker is more than its middle: a name beside one point may not run over that of another."""
    rng = np.random.default_rng(seed)
    ax = Figure(figsize=(3.9, 3.9), layout="constrained").subplots()
    x, y = rng.uniform(0.3, 0.7, 5), rng.uniform(0.3, 0.7, 5)
    ax.plot(x, y, "s", ms=5)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    style.name_points(ax, x, y, [f"a-model-{j}" for j in range(5)])
    ax.figure.draw_without_rendering()
    half = 2.5 * ax.figure.dpi / 72.0
    marks = [Bbox([point - half, point + half]) for point in ax.transData.transform(np.column_stack([x, y]))]
    assert not any(text.get_window_extent().overlaps(mark) for text in ax.texts for mark in marks)


@pytest.mark.parametrize(
    ("kind", "low", "high", "shown", "second"),
    [
        ("probability", 0.03, 0.995, ["0.1", "0.5", "0.9", "0.99"], []),
        ("logprob", np.log(0.3), np.log(0.9995), ["-1", "-0.1", "-0.01"], ["50%", "90%", "99%"]),
        ("score", -3.2, 4.1, ["0"], []),
    ],
)
def test_confidence_axes_have_round_numbers(kind, low, high, shown, second):
    from bayescascade.signals.kinds import to_signal

    ends = to_signal(np.array([low, high]), kind)
    ax = Figure(figsize=(4, 3)).subplots()
    style.ConfidenceAxis(kind, float(ends[0]), float(ends[1]), {}).label(ax)
    found = [label.get_text() for label in ax.get_xticklabels()]
    assert set(shown) <= set(found)
    beside = [label.get_text() for axis in ax.child_axes for label in axis.get_xticklabels()]
    assert set(second) <= set(beside)
    assert bool(beside) == bool(second)
    # each number stands where it belongs
    for axis, position, text in zip([ax] * len(found), ax.get_xticks(), found, strict=True):
        assert float(to_signal(np.array([float(text)]), kind)[0]) == pytest.approx(position), axis


def test_knowing_everything_does_not_press_the_lines_together(value):
    ax = plot_label_value(value)
    assert ax.get_ylim()[1] < 1.0
    assert "knowing everything: 9" in ax.get_legend_handles_labels()[1]


def changes(rows):
    index = pd.MultiIndex.from_tuples([key for key, *_ in rows], names=["change", "of", "by"])
    numbers = [values for _, *values in rows]
    return pd.DataFrame(numbers, index=index, columns=["loss", "new_loss", "kept"])


def test_a_tornado_has_the_largest_change_on_top_and_says_what_breaks():
    table = changes(
        [
            (("as tuned", "", 1.0), 1.0, np.nan, 0.9),
            (("price", "small", 2.0), 1.1, 1.05, 0.9),
            (("price", "large", 2.0), 1.5, 1.2, 0.9),
            (("drift", "queries", 0.25), 1.02, 1.3, 0.4),
        ]
    )
    ax = draw_sensitivity(None, table, {"max_error": 0.3, "prob": 0.9})
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["small costs × 2", "queries harder by 25%", "large costs × 2"]  # from below
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.1, 0.02, 0.5])
    assert [text.get_text() for text in ax.texts] == ["limit broken"]
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert ax.get_xlabel() == "change of the expected cost"


def test_long_names_of_rivals_fit_the_figure():
    long = "A_PROVIDER_WITH_A_VERY_LONG_NAME/" + "MODEL" * 12
    rows = [("this cascade", "cascade"), (f"{long} alone", "single stage"), (f"{long} > b{long} at 0.123", "pair")]
    table = pd.DataFrame(rows, columns=["rival", "kind"]).assign(
        chosen=True, saving=[0.0, 1.0, -1.0], saving_low=-2.0, saving_high=2.0
    )
    for width in (3.9, 6.4):
        ax = draw_verdict(Figure(figsize=(width, 2.5), layout="constrained").subplots(), table)
        ax.figure.canvas.draw()
        edge = ax.figure.bbox
        assert all(text.get_window_extent().x1 <= edge.x1 for text in ax.texts)
        assert ax.texts[1].get_text().endswith("at 0.123 (pair)")


@pytest.mark.parametrize("kind", ["logprob", "probability", "log_likelihood", "p_true", "percent"])
def test_numbers_of_a_confidence_axis_do_not_touch(kind):
    from bayescascade.signals.kinds import to_signal

    top = {"probability": 1.0, "percent": 100.0}.get(kind)
    for low, high in ((0.3, 0.9999999), (0.02, 0.6), (0.999, 0.999999)):
        ends = np.array([low, high]) * top if top else np.log([low, high])
        ax = Figure(figsize=(3.5, 3.0), layout="constrained").subplots()
        signal = to_signal(ends, kind)
        span = float(np.ptp(signal))
        atoms = {np.inf: float(signal[1]) + 0.15 * span}
        style.ConfidenceAxis(kind, float(signal[0]), float(signal[1]), atoms).label(ax)
        ax.figure.draw_without_rendering()
        for axis in (ax, *ax.child_axes):
            boxes = [label.get_window_extent() for label in axis.get_xticklabels() if label.get_text()]
            assert boxes
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2)), (kind, low, high)
