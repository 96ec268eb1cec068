"""The command line when something is wrong: one sentence, an exit code, and no file half written."""

import errno
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_fakes import assert_one_sentence, ctrl_c_heard, run

import bayescascade as bc
from bayescascade._common.files import whole_file
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.posterior import storage
from bayescascade.runtime import policy

FIT = ("--kind", "probability", "-o", "new.nc")
MISTAKES = {
    "no such log": (("fit", "missing.csv", *FIT), "missing.csv"),
    "a pattern of no files": (("fit", "none/*.csv", *FIT), "no file of a log is at"),
    "no kind": (("fit", "log.csv", "-o", "new.nc"), "--kind"),
    "no output": (("fit", "log.csv", "--kind", "probability"), "--output"),
    "unknown kind": (("fit", "log.csv", "--kind", "logits", "-o", "new.nc"), "logits"),
    "off its scale": (("fit", "log.csv", "--kind", "logprob", "-o", "new.nc"), "row 0"),
    "no cost column": (("fit", "log.csv", *FIT, "--cost", "price"), "price"),
    "empty log": (("fit", "empty.csv", *FIT), "empty.csv"),
    "not a log": (("fit", "binary.parquet", *FIT), "binary.parquet"),
    "foreign suffix": (("fit", "log.xlsx", *FIT), "xlsx"),
    "one stage": (("fit", "log.csv", *FIT, "--stages", "small"), "two stages"),
    "unknown stage": (("fit", "log.csv", *FIT, "--stages", "small,huge"), "huge"),
    "no draws": (("fit", "log.csv", *FIT, "--draws", "0"), "--draws"),
    "draws in words": (("fit", "log.csv", *FIT, "--draws", "many"), "--draws"),
    "output folder missing": (("fit", "log.csv", "--kind", "votes", "-o", "no/fit.nc"), "no does not exist"),
    "output is a folder": (("fit", "log.csv", "--kind", "votes", "-o", "."), "is a folder"),
    "output is the input": (("fit", "log.csv", "--kind", "votes", "-o", "log.csv"), "the input itself"),
    "no goal": (("tune", "fit.nc"), "No goal given: use --max-error"),
    "alpha of a mean": (("tune", "fit.nc", "--error-price", "1", "--alpha", "0.1"), "--alpha goes with --risk"),
    "prob with a price": (("tune", "fit.nc", "--error-price", "1", "--prob", "0.9"), "--prob goes with"),
    "goal in words": (("tune", "fit.nc", "--max-error", "low"), "--max-error"),
    "policy over the fit": (("tune", "fit.nc", "--max-error", "0.1", "-o", "fit.nc"), "the input itself"),
    "no such fit": (("tune", "missing.nc", "--max-error", "0.1"), "missing.nc"),
    "no such policy": (("score", "log.csv", "--policy", "missing.json"), "missing.json"),
    "truncated policy": (("score", "log.csv", "--policy", "cut.json"), "cut.json"),
    "foreign policy": (("score", "log.csv", "--policy", "foreign.json"), "foreign.json"),
    "kind not the policy's": (("score", "log.csv", "--policy", "policy.json", "--kind", "votes"), "votes"),
    "stage not in the log": (("score", "log.csv", "--policy", "other.json"), "huge"),
    "report of nothing": (("report", "missing.nc", "-o", "report.html"), "missing.nc"),
    "simulated spreadsheet": (("simulate", "-o", "log.xlsx"), ".parquet or .csv"),
    "simulated single stage": (("simulate", "-o", "new.csv", "--n-stages", "1"), "--n-stages"),
    "no labels": (("simulate", "-o", "new.csv", "--labelled", "0"), "--labelled"),
    "demo into a file": (("demo", "--output", "log.csv"), "log.csv"),
    "unknown command": (("train", "log.csv"), "train"),
    "unknown option": (("fit", "log.csv", *FIT, "--speed", "9"), "--speed"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_2(calls, folder, name):
    Path("empty.csv").write_text("")
    Path("binary.parquet").write_bytes(b"\x00\x01\x02PAR")
    Path("log.xlsx").write_bytes(b"PK")
    Path("cut.json").write_text(Path("policy.json").read_text()[:40])
    Path("foreign.json").write_text('{"name": "something else"}')
    policy.Policy(["small", "huge"], [0.5, -np.inf], "probability").save("other.json")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    args, fragment = MISTAKES[name]
    sentence = assert_one_sentence(run(*args), fragment)
    assert sentence.startswith("Error: ")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "command", [("tune", "fit.nc", "--max-error", "0.1"), ("report", "fit.nc", "-o", "r.html")]
)
def test_a_foreign_fit_is_a_mistake(calls, folder, monkeypatch, command):
    monkeypatch.setitem(vars(bc), "load_fit", storage.load_fit)
    assert_one_sentence(run(*command), "fit.nc")


def test_an_error_of_the_package_keeps_its_words(calls, folder, monkeypatch):
    def refuse(*_, **__):
        raise CascadeError("copula 'box' is not known; choose one of gumbel, frank")

    monkeypatch.setitem(vars(bc), "fit", refuse)
    result = run("fit", "log.csv", *FIT)
    assert assert_one_sentence(result, "box") == "Error: copula 'box' is not known; choose one of gumbel, frank"
    assert not Path("new.nc").exists()


def test_a_full_disk_is_one_sentence(calls, folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "new.nc")

    monkeypatch.setitem(vars(bc), "save_fit", full)
    assert_one_sentence(run("fit", "log.csv", *FIT), "new.nc: No space left on device.")

    def full_terminal(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(vars(bc), "save_fit", full_terminal)
    assert assert_one_sentence(run("fit", "log.csv", *FIT), "No space left").endswith(" No space left on device.")


def test_a_fault_of_ours_is_not_dressed_up_as_a_mistake(calls, folder, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setitem(vars(bc), "fit", broken)
    result = run("fit", "log.csv", *FIT)
    assert isinstance(result.exception, RuntimeError)


def test_remarks_are_shown_as_notes(calls, folder, monkeypatch):
    def remark(*_, **__):
        warnings.warn("only 6 queries: the prior dominates", CascadeWarning, stacklevel=1)
        warnings.warn("internals of some library", FutureWarning, stacklevel=1)

    monkeypatch.setitem(vars(bc), "fit", remark)
    result = run("fit", "log.csv", *FIT)
    assert "Note: only 6 queries: the prior dominates\n" in result.stderr
    assert "internals" not in result.output


# ---- interruption


@pytest.mark.parametrize(
    ("broken", "command"),
    [
        ("fit", ("fit", "log.csv", "--kind", "probability", "-o", "out.nc")),
        ("report", ("report", "fit.nc", "-o", "out.html")),
    ],
)
def test_control_c_exits_130_and_leaves_nothing(calls, folder, monkeypatch, broken, command):
    def interrupted(*args, **_):
        if broken == "report":
            with whole_file(args[1], "the report") as part:  # as the report writes itself
                part.write_text("<html>half a pa")
                raise KeyboardInterrupt
        raise KeyboardInterrupt

    before = sorted(os.listdir())
    monkeypatch.setitem(vars(bc), broken, interrupted)
    assert_one_sentence(run(*command), "Interrupted", code=130)
    assert sorted(os.listdir()) == before


# ---- the terminal and the pipe


def in_a_process(folder, code, encoding="utf-8", **options):
    """The command line as a process, with a stand-in for what takes long."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "120", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, env=environment, cwd=folder, timeout=120, **options)


SHOWS = """
import sys
from types import SimpleNamespace
import typer
from bayescascade.cli import tables, terminal
from bayescascade.cli.app import app

@app.command()
def names():
    terminal.say("géant")
    terminal.show(tables.checks_table([SimpleNamespace(name="modèle", passed=True, text="größer → 大")], None))
    with terminal.working("Fitting [/b] 大"):
        pass

app(["names"])
"""


def test_names_that_the_terminal_lacks(tmp_path):
    done = in_a_process(tmp_path, SHOWS, encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert rb"mod\xe8le" in done.stdout
    assert rb"g\xe9ant" in done.stderr


def test_files_are_written_before_the_tables(calls, folder, monkeypatch):
    """The reader of a pipe may leave after the first line, as `head -1` does."""

    def hang_up(*_):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("bayescascade.cli.terminal.show", hang_up)
    run("tune", "fit.nc", "--max-error", "0.3", "-o", "new.json")
    assert policy.Policy.load("new.json").thresholds == [0.75, -np.inf]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "log.csv", "--kind", "votes", "--n", ","), "names no number of queries"),
        (("compare", "log.csv", "--kind", "votes", "--plot", "x.xyz"), "should end in one of .eps, .jpg"),
        (("compare", "log.csv", "--kind", "votes", "--plot", "a.svg", "-o", "a.svg"), "would both be a.svg"),
        (("fit", "log.csv", *FIT, "--seed", 10**23), "--seed"),
        (("fit", "log.csv", *FIT, "--draws", 10**14), "--draws"),
        (("fit", "log.csv", "--kind", "votes", "--previous", "fit.nc", "-o", "fit.nc"), "is the input itself"),
        (("report", "fit.nc", "--policy", "policy.html", "-o", "policy.html"), "is the input itself"),
    ],
)
def test_options_that_cannot_be(calls, folder, arguments, message):
    Path("policy.html").write_text("a page")
    assert_one_sentence(run(*arguments), message)
    assert Path("policy.html").read_text() == "a page"


def test_a_termination_cleans_up(tmp_path):
    code = (
        "import os, signal, time, bayescascade.cli.app as cli\n"
        "from bayescascade._common.files import whole_file\n"
        "@cli.app.command()\n"
        "def slow():\n"
        "    with whole_file('new.txt', 'the note') as part:\n"
        "        part.write_text('half')\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(20)\n"
        "import sys; sys.argv = ['bayescascade', 'slow']; cli.main()\n"
    )
    assert in_a_process(tmp_path, code).returncode == 143
    assert os.listdir(tmp_path) == []


def test_control_c_in_a_callback_of_c_is_asked_for_again(monkeypatch):
    """What raises in a callback of compiled code is dropped by ctypes; the command has to end all the same."""
    import ctypes

    from bayescascade.cli.app import _interrupt_again

    monkeypatch.setattr(sys, "unraisablehook", _interrupt_again)

    def pressed():
        raise KeyboardInterrupt

    callback = ctypes.CFUNCTYPE(None)(pressed)

    def work():
        callback()
        time.sleep(10.0)

    with ctrl_c_heard(), pytest.raises(KeyboardInterrupt):
        work()
