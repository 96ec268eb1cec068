"""What Jupyter shows of results: escaped, headed, in the theme's colours."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from helpers.html import EVIL, Page

import bayescascade as bc
from bayescascade._common.html import cell, frame_of, table_of
from bayescascade.checks.results import CheckResult, CheckResults


class Cells(HTMLParser):
    """Rows of the cells of a table."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")
        if self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def test_a_table_says_what_it_was_given():
    rows = [["a<b", "1"], [EVIL, "2"]]
    html = table_of(["name", "n & m"], rows, caption="x > y")
    assert Cells(html).rows == [["name", "n & m"], *rows]
    page = Page(html)
    assert "script" not in page.tags
    assert [a["scope"] for a in page.named("th")] == ["col", "col", "row", "row"]


def test_a_frame_keeps_an_index_that_says_something():
    frame = pd.DataFrame({"so_many": [1, 2], "share": [0.12345, np.nan], "good": [True, False]})
    assert Cells(frame_of(frame)).rows[0] == ["so many", "share", "good"]
    named = frame.set_index(pd.Index(["a", "b"], name="stage"))
    assert Cells(frame_of(named)).rows == [
        ["stage", "so many", "share", "good"],
        ["a", "1", "0.123", "yes"],
        ["b", "2", "", "no"],
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (1e-5, "1e-05"), (3, "3"), (np.float64(0.5), "0.5")]
)
def test_cells_are_short(value, text):
    assert cell(value) == text


def results():
    table = pd.DataFrame({"p": [0.5]}, index=pd.Index([EVIL], name="stage"))
    return CheckResults(
        [
            CheckResult("margins", True, table, f"{EVIL} is well"),
            CheckResult("links", False, pd.DataFrame(), "Look at the links."),
            CheckResult("cascade", None, pd.DataFrame(), "Nothing was given."),
        ]
    )


def test_checks_are_a_table_with_words_for_their_verdicts():
    page = Page(results()._repr_html_())
    assert "1 of 2 checks passed." in page.text
    assert "script" not in page.tags
    assert EVIL in page.text
    rows = Cells(results()._repr_html_()).rows
    assert [row[1] for row in rows[1:]] == ["passed", "FAILED", "skipped"]
    assert 'class="bad"' in results()._repr_html_()


def test_one_check_shows_its_numbers():
    html = results()[0]._repr_html_()
    assert Cells(html).rows == [["stage", "p"], [EVIL, "0.5"]]
    assert "margins: passed." in Page(html).text
    assert "<table>" not in results()[1]._repr_html_()


def test_a_solution_shows_whether_its_goal_is_met(example_fit):
    solution = bc.tune(example_fit, max_error=0.3)
    html = solution._repr_html_()
    assert Cells(html).rows == [list(solution.head), *map(list, solution.table())]
    assert "Goal met." in Page(html).text
    assert "Goal not met." in Page(bc.tune(example_fit, max_error=0.01)._repr_html_()).text


def test_colours_come_from_the_theme(example_fit):
    """No ground and no ink of our own: a dark notebook stays dark, and its text stays readable."""
    html = results()._repr_html_()
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "--jp-content-font-color1" in style
    assert not re.search(r"(?<!-)\b(?:background|color): *#", style)
    assert "background: transparent" in style
    # the style reaches nothing beyond the output
    for selectors in re.findall(r"([^{}]+)\{", style):
        assert all(part.strip().startswith(".bayescascade") for part in selectors.split(","))
