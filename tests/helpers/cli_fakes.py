"""What the tests of the command line share: a runner, stand-ins for the numeric work, a working folder."""

import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import bayescascade as bc
from bayescascade.checks.results import CheckResult, CheckResults
from bayescascade.cli import app as cli
from bayescascade.logs import read as data
from bayescascade.runtime import policy
from bayescascade.tuning.answer import Alternative
from bayescascade.tuning.solution import ThresholdSolution

STAGES = ["small", "large"]


def run(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def assert_one_sentence(result, fragment, code=2):
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    sentence = result.stderr.strip().splitlines()[-1]
    assert fragment in sentence
    assert "Traceback" not in result.output
    return sentence


def make_log(n=12):
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.1, 0.9, (n, 2))
    return xr.Dataset(
        {
            "confidence": (("query", "stage"), confidence),
            "correct": (("query", "stage"), np.indices((n, 2))[0] % 2.0),
            "cost": (("query", "stage"), np.tile([0.001, 0.01], (n, 1))),
        },
        coords={"query": np.arange(n), "stage": STAGES},
        attrs={"confidence_kind": "probability", "stage_order": "as given"},
    )


class Solution(ThresholdSolution):
    def to_policy(self, path, **more):
        object.__setattr__(self, "more", more)
        chosen = policy.Policy(STAGES, self.thresholds.values.tolist(), "probability")
        chosen.save(path)
        return chosen


def make_solution(feasible=True):
    draws = np.linspace(0.0, 1.0, 41).reshape(1, 41)
    dims = ("chain", "draw")
    return Solution(
        thresholds=xr.DataArray([0.75, -np.inf], dims="stage", coords={"stage": STAGES}),
        error=xr.DataArray(0.1 + 0.1 * draws, dims=dims),
        cost=xr.DataArray(0.002 + 0.004 * draws, dims=dims),
        reach=xr.DataArray(
            np.stack([np.ones_like(draws), draws], axis=-1), dims=(*dims, "stage"), coords={"stage": STAGES}
        ),
        feasible=feasible,
        goal={"max_error": 0.2, "prob": 0.8},
        upper_bounds={"error": 0.1875},
        kept=0.85,
        confidence_kind="probability",
        as_good=xr.DataArray(
            [[0.7, 0.8], [-np.inf, -np.inf]],
            dims=("stage", "end"),
            coords={"stage": STAGES, "end": ["low", "high"]},
        ),
        alternatives=[Alternative(["large"], True, 0.95, 0.01, 0.05, 0.01)],
        text="the goal is met" if feasible else "no thresholds reach an error of 0.01; the best is 0.08",
    )


@pytest.fixture
def calls(monkeypatch):
    """Put quick stand-ins where the numeric work is, and keep what the commands pass to them."""
    calls = {}

    def stand_in(name, result):
        def function(*args, **kwargs):
            calls[name] = (args, kwargs)
            return result

        monkeypatch.setitem(vars(bc), name, function)

    attrs = {"confidence_kind": "probability"}
    posterior = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "observed_data": make_log()})
    stand_in("fit", posterior)
    stand_in("load_fit", posterior)
    stand_in("select_task", xr.DataTree(xr.Dataset(attrs={**attrs, "task": "law"})))
    stand_in("tune", make_solution())
    stand_in("check", CheckResults([CheckResult("convergence", True, pd.DataFrame(), "R-hat is at most 1.004")]))
    stand_in("simulate", make_log(20))
    stand_in("load_example", make_log(30))
    scored = xr.Dataset(
        {
            "error": 0.125,
            "cost": 0.0042,
            "reach": ("stage", [1.0, 0.25]),
            "answered": ("stage", [0.75, 0.25]),
        },
        coords={"stage": STAGES},
        attrs={"n_queries": 12},
    )
    stand_in("score", scored)
    monkeypatch.setitem(vars(bc), "read_log", data.read_log)
    monkeypatch.setitem(vars(bc), "Policy", policy.Policy)
    monkeypatch.setitem(vars(bc), "save_fit", lambda fit, path, **options: Path(path).write_text("a fit"))

    def report(*args, **kwargs):
        calls["report"] = (args, kwargs)
        Path(args[1]).write_text("a page")

    monkeypatch.setitem(vars(bc), "report", report)
    return calls


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a log, something in place of a fit, and a policy."""
    monkeypatch.chdir(tmp_path)
    bc.write_log(make_log(), Path("log.csv"))
    Path("fit.nc").write_text("stands for a fit")
    policy.Policy(STAGES, [0.5, -np.inf], "probability").save("policy.json")
    return tmp_path


@contextmanager
def ctrl_c_heard():
    """Ctrl-C as at a terminal: a shell that starts the tests in its background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
