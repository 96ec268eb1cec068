"""The command line: what it passes on, what it prints and writes, and the whole job for real."""

import inspect
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.cli_fakes import STAGES, assert_one_sentence, make_log, make_solution, run

import bayescascade as bc
from bayescascade.cli import app as cli
from bayescascade.logs import read as data
from bayescascade.runtime import policy
from bayescascade.signals.kinds import KINDS

COMMANDS = ("demo", "fit", "tune", "score", "report", "simulate")


# ---- help


def test_help_of_every_command():
    for command in COMMANDS:
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.output
    assert all(command in run("--help").output for command in COMMANDS)


def test_help_names_every_kind_of_confidence():
    text = run("fit", "--help").output
    assert [kind for kind in KINDS if kind not in text] == []


def test_version():
    assert run("--version").output.startswith("bayescascade ")


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from typer.testing import CliRunner; from bayescascade.cli.app import app\n"
        f"for command in ({', '.join(map(repr, COMMANDS))}):\n"
        "    assert CliRunner().invoke(app, [command, '--help']).exit_code == 0\n"
        "heavy = ('pymc', 'pytensor', 'nutpie', 'arviz', 'matplotlib', 'pandas', 'xarray', 'numba')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.benchmark
def test_help_waits_for_no_heavy_library():
    code = (
        "import sys; from bayescascade.cli import app as cli\n"
        "try: cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print('loaded:', *sorted({'pymc', 'pytensor', 'arviz', 'scipy', 'pandas', 'xarray', 'matplotlib'} & "
        "set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "tune" in out
    assert out.strip().splitlines()[-1] == "loaded:"


def test_defaults_are_those_of_the_python_function():
    from bayescascade.inference.fit import fit

    theirs = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
    ours = inspect.signature(cli.fit).parameters
    for name in (
        "draws",
        "tune",
        "chains",
        "copula",
        "margin",
        "calibration",
        "difficulty",
        "target_accept",
        "previous",
    ):
        assert ours[name].default == theirs[name]


# ---- what each command does


def test_fit_passes_the_options_on_and_writes(calls, folder):
    options = ("--draws", 50, "--tune", 60, "--chains", 2, "--seed", 7, "--copula", "frank")
    result = run("fit", "log.csv", "--kind", "probability", "-o", "new.nc", *options)
    assert result.exit_code == 0, result.output
    args, kwargs = calls["fit"]
    assert kwargs == {
        "draws": 50,
        "tune": 60,
        "chains": 2,
        "random_seed": 7,
        "copula": "frank",
        "margin": "polya_tree",
        "calibration": "logistic",
        "difficulty": True,
        "max_queries": 5000,
        "target_accept": None,
        "progressbar": False,
    }
    xr.testing.assert_allclose(args[0]["confidence"], make_log()["confidence"])
    assert Path("new.nc").read_text() == "a fit"
    assert "12 queries; stages as given: small, large" in result.stderr
    assert "tune new.nc" in result.stdout


def test_fit_keeps_the_chosen_stages(calls, folder):
    assert run("fit", "log.csv", "--kind", "probability", "--stages", "large, small", "-o", "a.nc").exit_code == 0
    assert calls["fit"][0][0]["stage"].values.tolist() == ["large", "small"]


def test_tune_prints_the_tables_and_writes_the_policy(calls, folder):
    result = run("tune", "fit.nc", "--max-error", 0.2, "--prob", 0.8, "-o", "new.json")
    assert result.exit_code == 0, result.output
    assert calls["tune"][1] == {"max_error": 0.2, "prob": 0.8}
    assert policy.Policy.load("new.json").thresholds == [0.75, -np.inf]
    for fact in (
        "0.75",
        "0.70 to 0.80",
        "accept all",
        "100.0%",
        "50.0%",
        "15.0% (90% interval 10.5% to 19.5%)",
        "4 per 1,000 queries (90% interval 2.2 to 5.8)",
        "80% sure that the error is at most 18.8%",
        "large alone, the best single stage that keeps this, costs 10 per 1,000 queries (+150%)",
        "1 of 1 checks passed.",
        "bayescascade score NEW_LOG --policy new.json",
    ):
        assert fact in result.stdout
    assert "\nRecommended: small > large\n" in result.stdout


def test_tune_leaves_prob_to_the_python_default(calls, folder):
    assert run("tune", "fit.nc", "--error-price", 3).exit_code == 0
    assert calls["tune"][1] == {"error_price": 3.0}


def test_tune_without_an_output_says_so(calls, folder):
    result = run("tune", "fit.nc", "--max-cost", 0.01)
    assert result.exit_code == 0
    assert "No policy was written" in result.stdout


def test_tune_infeasible_exits_3_and_leaves_the_old_policy(calls, folder, monkeypatch):
    before = Path("policy.json").read_bytes()
    monkeypatch.setitem(vars(bc), "tune", lambda *_, **__: make_solution(feasible=False))
    result = run("tune", "fit.nc", "--max-error", 0.01, "-o", "policy.json")
    assert result.exit_code == 3
    assert "the best is 0.08" in result.stderr
    assert "policy.json was left as it was, from an earlier run." in result.stderr
    assert Path("policy.json").read_bytes() == before
    assert "new.json was not written." in run("tune", "fit.nc", "--max-error", 0.01, "-o", "new.json").stderr


def test_score_prints_error_cost_and_shares(calls, folder):
    result = run("score", "log.csv", "--policy", "policy.json")
    assert result.exit_code == 0, result.output
    (log, chosen), _ = calls["score"]
    assert log.attrs["confidence_kind"] == "probability"
    # the policy itself: it may reject
    assert chosen == policy.Policy.load("policy.json")
    for fact in ("Error  12.5%", "4.2 per 1,000 queries", "12 queries", "25.0%", "75.0%"):
        assert fact in result.stdout
    # this policy's file holds no expectation
    assert "does not say what to expect of so many queries" in result.stderr


def test_score_selects_the_stages_of_the_policy_by_name(calls, folder):
    table = pd.read_csv("log.csv")
    middle = table[table["model"] == "small"].assign(model="middle")
    table = table.assign(stage=table["stage"] * 2)
    pd.concat([table, middle.assign(stage=1)]).to_csv("three.csv", index=False)
    assert run("score", "three.csv", "--policy", "policy.json").exit_code == 0
    assert calls["score"][0][0]["stage"].values.tolist() == STAGES


def test_report_replaces_the_page_as_a_whole(calls, folder):
    Path("report.html").write_text("yesterday's page")
    assert run("report", "fit.nc", "-o", "report.html").exit_code == 0
    assert Path("report.html").read_text() == "a page"


@pytest.mark.parametrize("name", ["sim.csv", "sim.parquet"])
def test_simulate_writes_a_log_that_reads_back(calls, folder, name):
    result = run("simulate", "-o", name, "--queries", 20, "--n-stages", 2, "--labelled", 9, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert calls["simulate"] == ((20,), {"n_stages": 2, "n_labelled": 9, "random_seed": 3})
    assert ("--kind probability" in result.stdout) == (name == "sim.csv")  # Parquet says it itself
    log = data.read_log(name, confidence_kind="probability" if name == "sim.csv" else None)
    for variable in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(log[variable], make_log(20)[variable])
    assert log["stage"].values.tolist() == STAGES


def test_a_log_is_written_with_its_gaps(tmp_path):
    log, path = make_log(), tmp_path / "log.csv"
    log["confidence"][3, 1] = log["correct"][3, 1] = log["cost"][3, 1] = np.nan  # not run
    log["correct"][5:] = np.nan  # not labelled
    bc.write_log(log, path)
    assert len(pd.read_csv(path)) == 23
    again = data.read_log(path, confidence_kind="probability")
    for variable in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(again[variable], log[variable])


def test_demo_does_the_whole_job_and_says_what_to_look_at(calls, folder):
    result = run("demo", "-o", "shown/here")
    assert result.exit_code == 0, result.output
    written = sorted(path.name for path in Path("shown/here").iterdir())
    assert written == ["fit.nc", "log.csv", "policy.json", "report.html"]
    assert all(name in result.stdout for name in written)
    train, test = calls["fit"][0][0], calls["score"][0][0]
    assert not set(train["query"].values) & set(test["query"].values)
    for fact in ("Recommended: small > large", "1 of 1 checks passed.", "0.75", "Error  12.5%"):
        assert fact in result.stdout


# ---- the real thing


@pytest.mark.slow
def test_from_simulated_log_to_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate = ("simulate", "--queries", 120, "--n-stages", 3, "-o")
    simulated = run(*simulate, "log.parquet", "--labelled", 80, "--seed", 1)
    assert simulated.exit_code == 0, simulated.output
    test = run(*simulate, "test.csv", "--seed", 2)
    assert test.exit_code == 0, test.output
    kind = test.stdout.split("--kind ")[1].split()[0]  # a Parquet file says its kind itself
    # answers are graded in letters, which fit and score are told the meaning of
    right = {}
    for name, read, write in (
        ("log.parquet", pd.read_parquet, pd.DataFrame.to_parquet),
        ("test.csv", pd.read_csv, pd.DataFrame.to_csv),
    ):
        table = read(name)
        letters = table["correct"].map({1.0: "C", 0.0: "I"}).fillna("N")
        letters[::7] = letters[::7].where(letters[::7] == "N", "P")
        right[name] = letters.map({"C": 1.0, "P": 1.0, "I": 0.0})
        write(table.assign(correct=letters), name)
    graded = ("--grades", "C=1,P=.5,I=0,N=", "--pass-mark", 0.5)
    sampling = ("--draws", 100, "--tune", 200, "--chains", 2, "--seed", 1)
    steps = [
        ("fit", "log.parquet", "--kind", kind, *graded, *sampling, "-o", "fit.nc"),
        ("tune", "fit.nc", "--error-price", 0.1, "-o", "policy.json"),
        ("score", "test.csv", "--policy", "policy.json", *graded),
        ("report", "fit.nc", "-o", "report.html"),
    ]
    assert_one_sentence(run("fit", "log.parquet", "-o", "fit.nc"), "--grades C=1,I=0,N=")
    for step in steps:
        result = run(*step)
        assert result.exit_code == 0, result.output
    assert "Expected: " in run(*steps[2]).stdout
    assert "<html" in Path("report.html").read_text().lower()
    assert policy.Policy.load("policy.json").thresholds[-1] == -np.inf
    told = bc.load_fit("fit.nc")["observed_data"]["correct"].values.ravel()
    np.testing.assert_array_equal(told, right["log.parquet"])
    unlabelled = run("score", "log.parquet", "--policy", "policy.json", *graded)
    assert unlabelled.exit_code == 0
    assert "have no label, so the error is that of the others" in unlabelled.stderr
    too_many = run(*simulate, "more.csv", "--labelled", 500)
    assert_one_sentence(too_many, "500")
    out_of_reach = run("tune", "fit.nc", "--max-error", 1e-6, "-o", "never.json")
    assert out_of_reach.exit_code == 3
    assert not Path("never.json").exists()


@pytest.mark.slow
def test_the_real_demo(tmp_path):
    result = run("demo", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert "FAILED" not in result.stdout
    assert (tmp_path / "report.html").stat().st_size > 1000


@pytest.mark.slow
def test_control_c_while_sampling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "-o", "log.csv", "--queries", 60, "--seed", 1).exit_code == 0
    fit = ("fit", "log.csv", "--kind", "probability", "-o", "fit.nc", "--chains", 2, "--seed", 1)
    assert run(*fit, "--draws", 10).exit_code == 0  # compiles, so that the next one samples at once
    Path("fit.nc").unlink()
    # a run in the background starts with Ctrl-C ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        interrupted = run(*fit, "--draws", 1_000_000)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert_one_sentence(interrupted, "Interrupted", code=130)
    assert os.listdir() == ["log.csv"]
