"""Tables of pages are read as they are written, and what is not there is said."""

import re

import pytest

from studies.summary import run as summary
from studies.summary.tables import first, numbers, table

PAGE = """# A page

## Costs, all

Words.

| method | n | kept |
|---|---|---|
| pick, doubt 0.1 | 50 | 81% (79% to 83%) |
| plug-in | 50 | none |

## Empty

Words.

## Next

| a |
|---|
| 1 |
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_the_first_table_below_a_heading(page):
    told = table(page, "Costs")
    assert told.columns.tolist() == ["method", "n", "kept"]
    assert numbers(told["kept"][0]) == [81.0, 79.0, 83.0]
    assert first(told["kept"][1]) != first(told["kept"][1])  # NaN


@pytest.mark.parametrize(("heading", "said"), [("Nothing", "no heading"), ("Empty", "no table")])
def test_what_is_not_there_is_said(page, heading, said):
    with pytest.raises(ValueError, match=said):
        table(page, heading)


def test_a_method_that_a_page_no_longer_has_is_named(tmp_path, monkeypatch):
    text = (summary.PAGES / "promises.md").read_text(encoding="utf-8").replace(f"| {summary.OURS} |", "| tuned |")
    (tmp_path / "promises.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr(summary, "PAGES", tmp_path)
    with pytest.raises(ValueError, match=rf"no rows of \['{re.escape(summary.OURS)}'\]"):
        summary.promises()


def test_the_figures_are_drawn_from_the_pages(tmp_path):
    import matplotlib.pyplot as plt

    for size, draw, read in summary.FIGURES.values():
        figure = plt.figure(figsize=size, layout="constrained")
        draw(figure, read())
        assert all(ax.lines for ax in figure.axes)
        figure.savefig(tmp_path / "figure.png")
        plt.close(figure)


def test_lower_and_higher_are_not_turned_round():
    told = summary.promises()
    assert (told["low"] <= told["kept"]).all()
    assert (told["kept"] <= told["high"]).all()
    assert summary.areas().loc["bayes"].eq(0).all()
