"""What people expect of any command line: -h, --json, columns by name, budgets, widths, one meaning an option."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import typer.main
from helpers.cli_fakes import STAGES, assert_one_sentence, make_log, make_solution, run
from typer.testing import CliRunner

import bayescascade as bc
from bayescascade.cli import app as cli
from bayescascade.cli import parsing, tables, terminal
from bayescascade.errors import CascadeError

COMMANDS = typer.main.get_command(cli.app).commands


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_short_help_and_json(command):
    text = run(command, "-h").output
    assert "Usage" in text
    assert "--json" in text


def test_the_module_runs_as_the_script_does():
    done = subprocess.run(
        [sys.executable, "-m", "bayescascade", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("bayescascade ")


# Options whose help says more in one command than in another; the meaning is the same.
SAME = {"output", "stages", "kind", "task", "policy", "prices", "log", "query", "by"}


def test_an_option_has_one_meaning():
    helps: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for param in command.params:
            if param.opts[0].startswith("--"):
                helps.setdefault(param.name, set()).add(param.help)
    several = {name: texts for name, texts in helps.items() if len(texts) > 1 and name not in SAME}
    assert several == {}


# ---- JSON


def as_json(*args, code=0):
    result = run(*args, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_tune_as_json(calls, folder):
    found = as_json("tune", "fit.nc", "--max-error", 0.2, "-o", "new.json")
    assert found["thresholds"] == {"small": 0.75, "large": "-inf"}
    assert found["as_good"]["small"] == [0.7, 0.8]
    assert found["error"]["mean"] == pytest.approx(0.15)
    assert found["checks"]["passed"] == ["convergence"]
    assert found["alternatives"][0]["stages"] == ["large"]
    assert found["policy"] == "new.json"


def test_other_commands_as_json(calls, folder):
    assert as_json("fit", "log.csv", "--kind", "probability", "-o", "new.nc")["stages"] == STAGES
    assert as_json("score", "log.csv", "--policy", "policy.json")["reach"] == {"small": 1.0, "large": 0.25}
    assert as_json("check", "fit.nc")["checks"][0]["check"] == "convergence"
    assert as_json("report", "fit.nc", "-o", "page.html") == {"report": "page.html"}
    assert as_json("simulate", "-o", "new.csv")["log"] == "new.csv"
    assert as_json("explain", "policy.json")["rules"][0]["accept_from"] == 0.5
    assert as_json("demo", "-o", "shown")["score"]["error"] == 0.125
    assert as_json("diff", "policy.json", "policy.json")["thresholds"][0]["stage"] == "small"
    assert "CASE" in as_json("export", "policy.json", "--to", "sql")["text"]


@pytest.mark.parametrize(
    "args",
    [
        ("explain", "missing.json"),  # a mistake that the package finds
        ("tune", "fit.nc", "--max-error", "low"),  # one that the options find
        ("fit", "missing.csv", "-o", "new.nc"),
    ],
    ids=lambda args: args[0],
)
def test_a_mistake_is_json_where_json_was_asked_for(calls, folder, args):
    plain, found = run(*args), run(*args, "--json")
    assert plain.stdout == ""
    assert plain.exit_code == found.exit_code == 2
    assert found.stderr == plain.stderr
    assert json.loads(found.stdout) == {"error": found.stderr.strip().removeprefix("Error: ")}


def test_an_unreachable_goal_as_json_has_the_lowest_limit(calls, folder, monkeypatch):
    nearest = replace(make_solution(feasible=False), lowest_limits={"error": 0.08})
    monkeypatch.setitem(vars(bc), "tune", lambda *_, **__: nearest)
    found = as_json("tune", "fit.nc", "--max-error", 0.01, code=3)
    assert found["feasible"] is False
    assert found["lowest_limits"] == {"error": 0.08}


@pytest.mark.parametrize(("typed", "share"), [("10%", "0.1"), ("2.5 %", "0.025")])
def test_a_per_cent_is_answered_with_the_share(calls, folder, typed, share):
    said = f"; write --max-error {share} in place of {typed}. See"
    assert_one_sentence(run("tune", "fit.nc", "--max-error", typed), said)
    assert_one_sentence(run("tune", "fit.nc", f"--max-error={typed}"), said)
    assert "in place of" not in run("tune", "fit.nc", "--max-error", "low").stderr


@pytest.mark.parametrize(
    "args",
    [
        ("simulate", "-o", "there.csv"),
        ("fit", "log.csv", "--kind", "probability", "-o", "there.nc"),
        ("tune", "fit.nc", "--max-error", 0.2, "-o", "there.json"),
        ("report", "fit.nc", "-o", "there.html"),
        ("export", "policy.json", "--to", "sql", "-o", "there.sql"),
    ],
    ids=lambda args: args[0],
)
def test_a_file_that_was_there_is_said_to_be_replaced(calls, folder, args):
    output = args[-1]
    assert f"Wrote {output}." in run(*args).stdout
    assert f"Replaced {output}." in run(*args).stdout


def test_json_has_no_nan():
    assert terminal._plain({"a": float("nan"), "b": float("inf"), "c": pd.DataFrame({"x": [1, None]})}) == {
        "a": None,
        "b": "inf",
        "c": [{"x": 1.0}, {"x": None}],
    }


# ---- how a log is read


def test_columns_and_conditions_by_options(calls, folder):
    table = pd.read_csv("log.csv").rename(columns={"query": "id", "confidence": "sure", "cost": "usd"})
    table["points"] = 10 * table.pop("correct")
    table.to_csv("own.csv", index=False)
    options = (
        "--query-column",
        "id",
        "--confidence-column",
        "sure",
        "--cost",
        "usd",
        "--correct-if",
        "points >= 5",
    )
    for command in (
        ("fit", "own.csv", "--kind", "probability", "-o", "new.nc"),
        ("score", "own.csv", "--policy", "policy.json"),
    ):
        assert run(*command, *options).exit_code == 0
    for log in (calls["fit"][0][0], calls["score"][0][0]):
        for name in ("confidence", "correct", "cost"):
            assert (log[name].values == make_log()[name].values).all()
    assert_one_sentence(
        run("score", "own.csv", "--policy", "policy.json", "--query-column", "ident"), "there is no column 'ident'"
    )


@pytest.mark.parametrize("command", ["fit", "score", "report", "update", "verify", "monitor", "compare"])
def test_every_command_that_reads_a_log_takes_these_options(command):
    text = run(command, "--help").output
    for option in ("--query-column", "--confidence-column", "--correct-if", "--grades", "--task-column", "--cost"):
        assert option in text


# ---- budgets and prices


@pytest.mark.parametrize(
    ("budget", "traffic", "cost"),
    [
        ("20/day", "50000/day", 4e-4),
        ("1/hour", "1/s", 1 / 3600),
        ("7 per week", "1,000 a day", 1e-3),
        ("365.25/year", "1e3/d", 1e-3),
    ],
)
def test_a_budget_and_a_traffic_are_a_cost_of_a_query(calls, folder, budget, traffic, cost):
    assert parsing.cost_per_query(budget, traffic) == pytest.approx(cost)
    assert run("tune", "fit.nc", "--budget", budget, "--traffic", traffic).exit_code == 0
    assert calls["tune"][1] == {"max_cost": pytest.approx(cost)}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--budget", "20/day"), "--budget and --traffic go together"),
        (("--budget", "20", "--traffic", "5/day"), "--budget 20 is not an amount per time"),
        (("--budget", "20/fortnight", "--traffic", "5/day"), "is not an amount per time"),
        (("--budget", "-20/day", "--traffic", "5/day"), "is not an amount per time"),
        (("--budget", "1.2.3/day", "--traffic", "5/day"), "is not an amount per time"),
        (("--budget", "20/day", "--traffic", "5/day", "--max-cost", "1"), "give one of the two"),
    ],
)
def test_budgets_that_are_none(calls, folder, typed, said):
    assert_one_sentence(run("tune", "fit.nc", *typed), said)


def test_new_prices_reach_the_fit_before_it_is_tuned(calls, folder, monkeypatch):
    monkeypatch.setitem(vars(bc), "reprice", lambda fit, prices: ("repriced", prices))
    assert run("tune", "fit.nc", "--max-error", 0.2, "--prices", "small=1e-4,large=2e-3").exit_code == 0
    assert calls["tune"][0][0] == ("repriced", {"small": 1e-4, "large": 2e-3})
    assert_one_sentence(
        run("tune", "fit.nc", "--max-error", 0.2, "--prices", "small"), "--prices small is not a list of prices"
    )


# ---- checks


def test_strict_checks_fail_the_command(calls, folder, monkeypatch):
    assert run("check", "fit.nc", "--strict").exit_code == 0
    failed = bc.check().__class__([*bc.check(), bc.check()[0].__class__("loo", False, pd.DataFrame(), "Look.")])
    monkeypatch.setitem(vars(bc), "check", lambda *_, **__: failed)
    assert run("check", "fit.nc").exit_code == 0
    strict = run("check", "fit.nc", "--strict")
    assert strict.exit_code == 1
    assert "1 of 2 checks passed. Loo failed: a few queries weigh heavily" in strict.stdout
    tuned = run("tune", "fit.nc", "--max-error", 0.2).stdout
    assert "See `bayescascade check fit.nc`." in tuned


# ---- widths


LONG = "a-stage-whose-name-is-longer-than-most-terminals-are-wide-because-it-names-a-version-2026-10-01"


def width_of(*parts):
    done = CliRunner().invoke(_printing(*parts), [], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return max(map(len, done.output.splitlines())), done.output


def _printing(*parts):
    app = typer.Typer()

    @app.command()
    def show():
        terminal.show(*parts)

    return app


def test_tables_fit_80_columns_and_keep_their_numbers_whole():
    rivals = pd.DataFrame(
        {
            "rival": ["this cascade", f"{LONG} > {LONG} at -0.0684"],
            "kind": ["cascade", "pair"],
            "loss": [0.0123456, 123456.0],
            "saving": [0.0, -1234.5],
            "saving_low": [0.0, -12345.6],
            "saving_high": [0.0, 12345.6],
            "p_beats": [0.0, 0.7],
            "kept": [0.91, 0.2],
        }
    )
    methods = pd.DataFrame(
        {
            "auc": [0.12345, 0.2],
            "regret": [float("nan")] * 2,
            "difference": [float("nan"), -12.345],
            "low": [float("nan"), -23.456],
            "high": [float("nan"), 34.567],
            "p_value": [float("nan")] * 2,
            "seconds": [1.0, 1234.5],
        },
        index=pd.MultiIndex.from_tuples([(1000, "bayes_subsets"), (1000, "empirical_risk_minimisation")]),
    )
    watched = pd.DataFrame(
        {
            "part": [f"confidence of {LONG}"],
            "n": [12345],
            "expected": ["0.123"],
            "should show": ["0.0123 to 0.456"],
            "shows": ["0.789"],
            "p": ["0.00123"],
            "alarm at": ["12345"],
        }
    )
    wide, text = width_of(
        tables.verdict_table(rivals), tables.against_table(methods, "bayes_subsets"), tables.frame_table(watched)
    )
    assert wide <= 80
    for number in ("123,000", "-12,300 to 12,300", "-23.5 to +34.6%", "0.0123 to 0.456", "below 1%", "91%"):
        if number != "below 1%":
            assert number in text
    assert "To oracle" not in text  # an empty column


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_prose_is_broken_between_words(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "Error at most 25%: kept here, with 18.3%, by llama3.1-70b, as expected of these thresholds. " * 5
    lines = terminal.wrapped(text, "         ", "Promise  ").splitlines()
    assert max(map(len, lines)) <= columns
    assert " ".join(" ".join(lines).split()) == "Promise " + " ".join(text.split())


def test_progress_is_lines_where_nobody_watches(calls, folder):
    said = run("tune", "fit.nc", "--max-error", 0.2).stderr.splitlines()
    assert said[0] == "Tuning ..."
    assert re.fullmatch(r"Tuning: done in \d+ s", said[1])


def test_files_that_are_not_policies_are_explained_as_such(folder):
    Path("other.json").write_text("{}")
    assert_one_sentence(run("explain", "other.json"), "is not a policy file")
    for command in (("explain", "log.csv"), ("score", "log.csv", "--policy", "log.csv")):
        said = "log.csv is not a policy file: it is not JSON; make one with `bayescascade tune FIT "
        assert_one_sentence(run(*command), said)


def test_rates_of_another_kind_are_refused():
    with pytest.raises(CascadeError, match="not an amount per time"):
        parsing.rate_of("--traffic", "nan/day")
