"""The studies say what they measure and where it goes, start quickly, and go on where they were stopped."""

import importlib
import re
from pathlib import Path

import pandas as pd
import pytest

from studies.common import command
from studies.common.resume import Rows

ROOT = Path(__file__).parents[2]
NAMES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "studies").glob("*/*.py")
    if "\ndef main(" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", NAMES)
def test_help_says_how_to_run_it_and_which_page_it_is_for(name, capsys):
    study = importlib.import_module(name)
    with pytest.raises(SystemExit) as done:
        study.main(["--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m {name} ")
    assert "--quick" in shown
    assert study.__doc__.strip() in shown
    assert f"python -m {name}" in study.__doc__
    named = re.findall(r"docs/\w+/\w+\.(?:md|png)", study.__doc__)
    assert named
    for path in named:
        # the coverage of intervals has no page yet
        assert (ROOT / path).is_file() or path.endswith("interval_coverage.md")


def test_every_study_can_be_run():
    folders = {path.parent.name for path in (ROOT / "studies").glob("*/__init__.py")} - {"common"}
    assert folders == {name.split(".")[1] for name in NAMES if name.endswith(".run")}


def test_pages_say_the_command_that_writes_them():
    for name in NAMES:
        folder, module = name.split(".")[1:]
        page = ROOT / "docs" / "evidence" / f"{folder}.md"
        if module == "run" and page.is_file():
            assert f"python -m {name}" in page.read_text(encoding="utf-8")


# ---- the command line


def parse(*argv, **options):
    return command.parse("budget", "What it measures.", argv, **options)


def test_options_are_those_that_a_study_has():
    run = parse(*("--logs", "b", "--seeds", "5-9"), logs=("a", "b"), parts=("one", "two"), seeds=range(20))
    assert (run.logs, run.parts, run.seeds) == (("b",), ("one", "two"), range(5, 10))
    assert parse("--parts", "two", parts=("one", "two")).parts == ("two",)
    assert parse("--seeds", "3", seeds=range(20)).seeds == range(3)
    assert parse("--replications", "7", replications=200).replications == 7


@pytest.mark.parametrize("argv", [["--logs", "c"], ["--seeds", "few"], ["--replications", "2"]])
def test_what_is_no_option_is_refused(argv, capsys):
    with pytest.raises(SystemExit):
        parse(*argv, logs=("a", "b"), seeds=range(20))
    assert argv[0] in capsys.readouterr().err


def test_only_a_whole_run_writes_the_page_of_the_documentation():
    logs = ("a", "b")
    assert parse(logs=logs).page == ROOT / "docs" / "evidence" / "budget.md"
    assert parse("--logs", "b", "a", logs=logs).page == parse(logs=logs).page
    assert parse("--logs", "b", logs=logs).page == ROOT / "build" / "partial" / "budget.md"
    assert parse("--seeds", "5-9", seeds=range(20)).page == ROOT / "build" / "partial" / "budget.md"
    assert parse("--seeds", "30", seeds=range(20)).page == ROOT / "docs" / "evidence" / "budget.md"
    assert parse("--quick", logs=logs).page == ROOT / "build" / "quick" / "budget.md"
    assert parse("--quick", logs=logs).rows(("log",)).path == ROOT / "build" / "quick" / "budget.csv"


# ---- going on


def test_a_cell_is_measured_once(tmp_path):
    path, cells = tmp_path / "build" / "study.csv", [("mmlu", "30", 0), ("mmlu", "all", 0)]
    rows = Rows(path, ("log", "n", "seed"), text=["n"])
    assert rows.table.empty
    for cell in rows.missing(cells[:1]):
        rows.add(cell, [{"auc": 0.3, "method": "a"}, {"method": "b", "auc": 1 / 3}])
    again = Rows(path, ("log", "n", "seed"), text=["n"])
    assert cells[0] in again
    assert list(again.missing(cells)) == cells[1:]
    again.add(cells[1], [{"auc": float("nan"), "method": "a"}])
    table = again.table
    assert table["n"].tolist() == ["30", "30", "all"]
    assert table["auc"].tolist()[:2] == pytest.approx([0.3, 1 / 3])
    pd.testing.assert_frame_equal(table, Rows(path, ("log", "n", "seed"), text=["n"]).table)


def test_a_cell_whose_writing_was_cut_short_is_measured_again(tmp_path):
    path = tmp_path / "study.csv"
    rows = Rows(path, ("seed",))
    for seed in range(3):
        rows.add((seed,), [{"auc": 0.25}, {"auc": 0.24}])
    path.write_text(path.read_text()[:-3])
    again = Rows(path, ("seed",))
    assert list(again.missing((seed,) for seed in range(4))) == [(2,), (3,)]
    again.add((2,), [{"auc": 0.23}])
    assert again.table["seed"].tolist() == [0, 0, 1, 1, 2]


def test_rows_of_another_version_and_cells_without_any_are_refused(tmp_path):
    rows = Rows(tmp_path / "study.csv", ("seed",))
    with pytest.raises(ValueError, match="no rows"):
        rows.add((0,), [])
    rows.add((0,), [{"auc": 0.25}])
    with pytest.raises(ValueError, match="another version of the study"):
        rows.add((1,), [{"area": 0.25}])
