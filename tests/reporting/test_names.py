"""Names from a log reach readers as they are, as names: in a page, its script, a terminal, a spreadsheet."""

import csv
import io
import re
import subprocess

import pandas as pd
import pytest
from helpers.fits import with_stages
from helpers.html import Page, chromium, data_of
from rich.console import Console

import bayescascade as bc
from bayescascade._common.spreadsheets import for_spreadsheets
from bayescascade.cli.tables import thresholds_table
from bayescascade.errors import CascadeError

STAGES = [
    "=HYPERLINK(\"x\")'</script><img src=x onerror=document.title='owned'>]]>--><!--",
    "שלום\u200f \u2028\u2029 [bold]{{7*7}}{% x %} 👩‍🔬 é",
    "@$\\frac{$" + "very-long-" * 40 + "&lt;",
]


@pytest.fixture(scope="module")
def fit(example_fit):
    return with_stages(example_fit, STAGES)


@pytest.fixture(scope="module")
def solution(fit):
    return bc.tune(fit, error_price=0.02)


@pytest.fixture(scope="module")
def path(fit, solution, tmp_path_factory):
    return bc.report(fit, tmp_path_factory.mktemp("names") / "report.html", solution=solution)


def normal(text):
    return re.sub(r"\s+", " ", text).strip()


def test_the_page_holds_names_as_text_alone(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)  # elements are closed in order, so no name opened or closed one
    assert "img" not in page.tags
    assert text.count("<script") == text.count("</script>") == 2
    for name in STAGES:
        assert normal(name) in page.text
    assert "{{" in page.text  # nothing was taken for a template
    assert "49" not in page.text.split(normal(STAGES[1]))[0][-5:]


def test_the_page_of_a_monitor_holds_names_as_text_alone(example_log, solution, tmp_path):
    served = example_log.assign_coords(stage=STAGES)
    path = bc.monitor(solution.to_policy(), served).save(tmp_path / "monitor.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "img" not in page.tags
    assert text.count("<script") == text.count("</script>")
    for name in solution.thresholds["stage"].values:
        assert normal(str(name)) in page.text


def test_the_script_reads_the_same_names(path):
    page = Page(path.read_text(encoding="utf-8"))
    raw = page.scripts["explorer-data"]
    assert not re.search("[<>\u2028\u2029]|&(?!amp)", raw)
    sentences = " ".join(point["sentence"] for point in data_of(page)["points"])
    assert sum(name in sentences for name in STAGES) >= 2


def test_attributes_hold_names_whole(path):
    page = Page(path.read_text(encoding="utf-8"))
    known = {"id", "class", "for", "type", "min", "max", "step", "value", "role", "scope", "style", "href", "d"}
    told = [value for name, value in page.attributes if value and name not in known]
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert all("onerror" not in value or STAGES[0] in value for value in told)


@pytest.mark.parametrize("width", [40, 120])
def test_a_terminal_shows_names_and_is_not_steered(solution, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, highlight=False)
    console.print(thresholds_table(solution))
    shown = stream.getvalue()
    assert "\x1b" not in shown + solution.text
    # the stages' column, whose cells are folded
    end = next(line.index("(pro") for line in shown.split("\n") if "(pro" in line)
    first = "".join(line[:end] for line in shown.split("\n"))
    for name in STAGES:
        assert re.sub(r"\s", "", name) in re.sub(r"\s", "", first)


def test_reprs_of_results_are_text_and_sound_html(fit, solution):
    for result in (solution, bc.evaluate(fit, solution.thresholds), bc.frontier(fit, n_points=3)):
        repr(result).encode()
        if hasattr(result, "_repr_html_"):
            assert "<img" not in result._repr_html_()


def test_a_policy_keeps_names(solution, tmp_path):
    solution.to_policy().save(tmp_path / "policy.json")
    again = bc.Policy.load(tmp_path / "policy.json")
    assert again.stages == STAGES
    assert "<img" not in again._repr_html_()


def test_a_spreadsheet_finds_no_formula():
    names = ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(1)", "\t=1", "plain", '"=1"', "a,b\nc", *STAGES]
    table = pd.DataFrame({"method": names, "error": -0.5})
    stream = io.StringIO()
    for_spreadsheets(table).to_csv(stream, index=False)
    rows = list(csv.reader(io.StringIO(stream.getvalue(), newline="")))
    assert not any(row[0].startswith(("=", "+", "-", "@", "\t")) for row in rows)
    assert [row[0].removeprefix("'") for row in rows[1:]] == names
    assert rows[1][1] == "-0.5"  # a number stays one


@pytest.mark.parametrize("name", ["a\u202eb", "a\u2066b", "a\x1b[2Jb", "a\0b", "a\ud800b"])
def test_what_turns_a_line_or_steers_a_terminal_is_no_name(name):
    with pytest.raises(CascadeError, match="holds the control character"):
        bc.Policy([name, "large"], [0.5, float("-inf")], "probability")


def test_in_a_browser_nothing_runs(path):
    program = chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: the page with odd names was not opened in a browser")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "<html" not in done.stdout:
        pytest.skip(f"Chromium does not start here: {done.stderr[-200:]}")
    assert "owned" not in re.search("<title>(.*?)</title>", done.stdout, re.S)[1]
    assert "<img" not in done.stdout
    assert "onerror" in done.stdout  # as text
