"""A page about many tenants: those that need a look come first, with the reasons."""

import json

import pytest
from helpers.html import Page
from typer.testing import CliRunner

import bayescascade as bc
from bayescascade.cli.app import app
from bayescascade.errors import CascadeError

FIT = {
    "status": "fitted",
    "queries": 120,
    "labelled": 60,
    "rhat": 1.003,
    "divergences": 0,
    "failed_checks": "",
    "notes": "",
    "seconds": 3.0,
    "worker": "7",
    "file": "x.nc",
}
TUNED = {
    **{
        "status": "promised",
        "error": 0.2,
        "error_low": 0.15,
        "error_high": 0.25,
        "cost": 0.001,
        "cost_low": 0.0009,
    },
    **{
        "cost_high": 0.0011,
        "kept": 0.93,
        "failed_checks": "",
        "thresholds": "small: 0.8",
        "notes": "",
        "file": "x",
    },
}
FITS = {
    "acme": {},
    "<b>law</b>": {"failed_checks": "calibration, loo"},
    "shaky": {"rhat": 1.04, "divergences": 3},
    "bare": {
        "status": "failed",
        "queries": None,
        "labelled": None,
        "rhat": None,
        "notes": "No answer is labelled.",
    },
    "hard": {},
}
POLICIES = {
    "acme": {},
    "<b>law</b>": {},
    "shaky": {},
    "hard": {"status": "out of reach", "kept": 0.4, "notes": "The limit is too low.", "file": ""},
}


def write(folder, rows, common):
    folder.mkdir()
    lines = [json.dumps({"tenant": name, **common, **own}) for name, own in rows.items()]
    (folder / "tenants.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def fits(tmp_path):
    return write(tmp_path / "fits", FITS, FIT)


@pytest.fixture
def policies(tmp_path):
    return write(tmp_path / "policies", POLICIES, TUNED)


def test_tenants_that_need_a_look_come_first(fits, policies, tmp_path):
    path = bc.report_tasks(fits, tmp_path / "page.html", policies=policies)
    page = Page(path.read_text(encoding="utf-8"))
    head, _, table = page.text.partition("All tenants")
    assert "4 of 5 tenants need a look" in head
    assert "acme" not in head
    assert "Check failed: calibration. That is, the fit misjudges how often a confident answer is right" in head
    assert "R-hat is 1.040 and 3 transitions diverged" in head
    assert "It has no fit: No answer is labelled." in head
    assert "Its goal is out of reach: The limit is too low." in head
    for cell in ("20.0% (15.0% to 25.0%)", "1 (0.9 to 1.1)", "93.0%", "small: 0.8", "no fit"):
        assert cell in table
    assert "<b>law" not in path.read_text(encoding="utf-8")  # a name is text


def test_without_policies_the_page_is_about_the_fits(fits, tmp_path):
    text = Page(bc.report_tasks(fits, tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "3 of 5 tenants need a look" in text
    assert "accept from" not in text


def test_where_all_is_well_it_says_so(tmp_path):
    fits = write(tmp_path / "fits", {"acme": {}}, FIT)
    assert "No tenant needs a look" in bc.report_tasks(fits, tmp_path / "page.html").read_text(encoding="utf-8")


def test_folders_that_hold_none_are_named(fits, tmp_path):
    with pytest.raises(CascadeError, match="there are no fits of tenants in"):
        bc.report_tasks(tmp_path, tmp_path / "page.html")
    with pytest.raises(CascadeError, match="there are no policies of tenants in"):
        bc.report_tasks(fits, tmp_path / "page.html", policies=tmp_path)
    with pytest.raises(CascadeError, match=r"the folder .* does not exist"):
        bc.report_tasks(fits, tmp_path / "none" / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_command_writes_it(fits, policies, tmp_path):
    output = tmp_path / "page.html"
    asked = ["report-tasks", str(fits), "--policies", str(policies), "-o", str(output)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "4 of 5 tenants need a look" in output.read_text(encoding="utf-8")
    assert json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout) == {"report": str(output)}
