"""`fit-tasks` and `tune-tasks`: what they pass on and print."""

from pathlib import Path

import pandas as pd
import pytest
from helpers.cli_fakes import assert_one_sentence, run

import bayescascade as bc
from bayescascade.tenants.fit_tasks import COLUMNS, TenantFits
from bayescascade.tenants.tune_tasks import COLUMNS as TUNED


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Stand-ins for the work, which keep what they were called with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "fits").mkdir()
    calls, nan = {}, float("nan")

    def fit_tasks(*args, **options):
        calls["fit_tasks"] = args, options
        rows = [
            ("fitted", 40, 40, 1.0, 0, "margins", "", 2.0, "1", "law.nc"),
            ("failed", nan, nan, nan, nan, nan, "no labels", 1.0, "1", ""),
        ]
        index = pd.Index(["law", "zoo"], name="tenant")
        return TenantFits(Path("fits"), pd.DataFrame(rows, columns=list(COLUMNS), index=index))

    def tune_tasks(*args, **options):
        calls["tune_tasks"] = args, options
        row = ("promised", 0.1234567, 0.1, 0.2, 0.5, 0.4, 0.6, 0.9, "margins", "small: 0.8", "", "law.json")
        return pd.DataFrame([row], columns=list(TUNED), index=pd.Index(["law"], name="tenant"))

    monkeypatch.setattr(bc, "fit_tasks", fit_tasks, raising=False)
    monkeypatch.setattr(bc, "tune_tasks", tune_tasks, raising=False)
    return calls


def test_fit_tasks_passes_on_what_is_asked(calls):
    asked = "--by tenant --kind probability --cost small=1,large=2 --workers 3 --draws 50 --seed 4"
    asked += " --copula frank --pool 8"
    result = run("fit-tasks", "logs", "-o", "fits", "--no-checks", "--difficulty", *asked.split())
    assert result.exit_code == 3, result.output  # a tenant has no fit
    args, options = calls["fit_tasks"]
    assert args == (Path("logs"), Path("fits"))
    assert options["by"] == "tenant"
    assert options["cost"] == {"small": 1.0, "large": 2.0}
    assert (options["workers"], options["client"], options["random_seed"], options["checks"]) == (
        3,
        None,
        4,
        False,
    )
    assert (options["draws"], options["copula"], options["confidence_kind"]) == (50, "frank", "probability")
    assert (options["difficulty"], options["pool"]) == (True, 8)
    for fact in ("law", "margins", "no labels", "Wrote 1 of 2 fits to fits", "tune-tasks fits"):
        assert fact in result.stdout
    assert " nan " not in result.stdout


def test_tune_tasks_passes_on_the_goal(calls):
    result = run("tune-tasks", "fits", "-o", "policies", "--max-error", 0.2, "--scheduler", "tcp://h:1")
    assert result.exit_code == 0, result.output
    args, options = calls["tune_tasks"]
    assert args == (Path("fits"), Path("policies"))
    assert options == {"client": "tcp://h:1", "workers": 2, "max_error": 0.2}
    assert "0.12" in result.stdout
    assert "Wrote 1 of 1 policies to policies" in result.stdout
    assert_one_sentence(run("tune-tasks", "fits", "-o", "policies"), "No goal given")


def test_mistakes_are_one_sentence_in_the_names_of_the_command_line(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("bayescascade._common.cluster._SECONDS", "1s")
    table = pd.DataFrame({"query": [1], "stage": ["a"], "confidence": [0.5], "cost": [1.0], "team": ["x"]})
    (tmp_path / "logs").mkdir()
    table.to_parquet(tmp_path / "logs" / "0.parquet")
    base = ("fit-tasks", tmp_path / "logs", "-o", tmp_path / "fits")
    assert_one_sentence(run(*base, "--by", "tenant"), "--by tenant is not allowed; name the column of tenants")
    sentence = assert_one_sentence(
        run(*base, "--by", "team", "--scheduler", "tcp://127.0.0.1:9"), "no scheduler that answers"
    )
    assert "--scheduler tcp://127.0.0.1:9 is the address of" in sentence
