"""Sliders in a notebook: what they stand at is what is shown."""

import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

import bayescascade as bc
from bayescascade.reporting.explorer import make_explorer
from bayescascade.reporting.notebook import explore

pytest.importorskip("ipywidgets", reason="no ipywidgets (extra notebook): explore was not tried")


@pytest.fixture(scope="module")
def points(example_fit):
    return make_explorer(example_fit)


@pytest.fixture
def explorer(example_fit):
    return explore(example_fit)


def shown(explorer):
    return re.sub(r"<[^>]*>", " ", explorer.table.value)


def test_a_price_picks_the_point_of_least_loss(explorer, points):
    for price in (0.005, 0.02):
        explorer.price.value = price
        point = points.for_price(explorer.price.value)
        assert explorer.point == point
        assert points.band("error", point) in shown(explorer)
        assert points.rows(point)[0][1] in shown(explorer)
        assert explorer.target.value == pytest.approx(float(points.points["kept"][point]), abs=1e-3)
        np.testing.assert_array_equal(explorer.thresholds, points.points["threshold"][point])


def test_a_target_picks_the_cheapest_point_that_keeps_it(explorer, points):
    explorer.target.value = 0.3
    point, able = points.for_target(0.3)
    assert able
    assert explorer.point == point
    assert "Cheapest that keep an error of at most 30.0%" in shown(explorer)
    explorer.target.value = explorer.target.min
    assert "Cheapest that keep" in shown(explorer)  # there is nothing on the slider that cannot be had
    assert 'class="good"' in explorer.table.value


def test_the_marker_moves(explorer, points):
    marks = []
    for price in (0.003, 0.05):
        explorer.price.value = price
        assert 'visibility="hidden"' not in explorer.figure.value
        marks.append(float(re.search(r'<circle cx="([\d.]+)"', explorer.figure.value)[1]))
    assert marks[0] < marks[1]


def test_thresholds_can_be_used(explorer, example_fit):
    explorer.target.value = 0.3
    found = bc.evaluate(example_fit, explorer.thresholds)
    assert float(np.mean(found["error"].values <= 0.3)) >= 0.9
    explorer.thresholds[0] = 0.0  # a copy: what is shown stays as it is
    assert float(explorer.thresholds[0]) != 0.0


def test_without_ipywidgets_the_extra_is_named(example_fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(bc.CascadeError, match=r'pip install "bayescascade\[notebook\]"'):
        explore(example_fit)


def test_probabilities_out_of_range_are_refused(example_fit):
    with pytest.raises(bc.CascadeError, match="prob=90"):
        explore(example_fit, prob=90)


def test_it_runs_in_a_notebook(example_fit, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    # the kernel runs elsewhere, and must find this very package
    monkeypatch.setenv("PYTHONPATH", str(Path(bc.__file__).parents[1]))

    bc.save_fit(example_fit, tmp_path / "fit.nc")
    cells = [
        "import bayescascade as bc\nfrom bayescascade.reporting.notebook import explore\n"
        "explorer = explore(bc.load_fit('fit.nc'))\nexplorer",
        "before = explorer.table.value\nexplorer.price.value = explorer.price.value * 3\n"
        "print(explorer.table.value != before)",
        "bc.tune(bc.load_fit('fit.nc'), max_error=0.3)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    first, second, third = notebook.cells
    assert "application/vnd.jupyter.widget-view+json" in first.outputs[0]["data"]
    assert second.outputs[0]["text"] == "True\n"
    assert '<th scope="col">stage</th>' in third.outputs[0]["data"]["text/html"]
