"""Commands run in processes of their own that may be killed at any moment, and what they leave behind.

A process is a fork of one that has everything loaded, so that what is interrupted is the command's own work and a
hundred trials take minutes. `fit` takes a fit that is ready: what is interrupted is its reading and its writing.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.checks.results import CheckResults
from bayescascade.rivals.cells import Result, Store

Reader = Callable[[Path], object]
PATIENCE = 120.0  # seconds after which a process that does not end is called stuck


@dataclass(frozen=True)
class Command:
    """A command that writes: its arguments, and how each file that it makes is read as whole."""

    name: str
    arguments: tuple[str, ...]
    makes: dict[str, Reader] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("fit.nc", "log.csv", "policy.json")


class Ended(NamedTuple):
    """How a process ended: its exit code, below 0 the signal that ended it; None where it was stuck."""

    code: int | None
    stderr: str
    seconds: float


def read_page(path: Path) -> str:
    """A page, to its end."""
    text = path.read_text(encoding="utf-8")
    if not text.rstrip().endswith("</html>"):
        raise ValueError(f"{path} does not end as a page does")
    return text


def read_picture(path: Path) -> str:
    """A picture, to its end."""
    text = path.read_text(encoding="utf-8")
    if not text.rstrip().endswith("</svg>"):
        raise ValueError(f"{path} does not end as a picture does")
    return text


def read_log(path: Path) -> xr.Dataset:
    """A log of all the queries that were asked for."""
    log = bc.read_log(path, confidence_kind="probability", cost="cost")
    if log.sizes["query"] != 60:
        raise ValueError(f"{path} holds {log.sizes['query']} queries")
    return log


_COMPARE = ("compare", "log.csv", "--kind", "probability", "--methods", "grid_search,isotonic_constrained")
COMMANDS = (
    Command(
        "simulate, CSV", ("simulate", "-o", "new.csv", "--queries", "60", "--seed", "1"), {"new.csv": read_log}
    ),
    Command(
        "simulate, Parquet",
        ("simulate", "-o", "new.parquet", "--queries", "60", "--seed", "1"),
        {"new.parquet": read_log},
    ),
    Command(
        "fit",
        ("fit", "log.csv", "--kind", "probability", "--cost", "cost", "--seed", "1", "-o", "new.nc"),
        {"new.nc": bc.load_fit},
    ),
    Command("tune", ("tune", "fit.nc", "--error-price", "0.01", "-o", "new.json"), {"new.json": bc.Policy.load}),
    Command("report", ("report", "fit.nc", "--policy", "policy.json", "-o", "new.html"), {"new.html": read_page}),
    Command(
        "compare",
        (*_COMPARE, "--seeds", "2", "--resume", "cells", "-o", "new.csv", "--plot", "new.svg"),
        {"new.csv": pd.read_csv, "new.svg": read_picture},
    ),
)


@contextmanager
def prepared(folder: Path, fit: xr.DataTree) -> Iterator[None]:
    """Make the files that the commands read, and load all that they need by running each once.

    Until the end `fit` is what the command `fit` gets for sampling, in this process and its forks, and it is not
    checked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bc.save_fit(fit, folder / "fit.nc")
    stages = [str(stage) for stage in fit["observed_data"].to_dataset()["stage"].values]
    bc.Policy(stages, [0.8] * (len(stages) - 1) + [float("-inf")], "probability").save(folder / "policy.json")
    table = bc.load_example().isel(query=slice(60)).to_dataframe().reset_index()
    table[["query", "stage", "confidence", "correct", "cost"]].to_csv(folder / "log.csv", index=False)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with patch.multiple(bc, fit=lambda *_, **__: fit, check=lambda *_, **__: CheckResults([])):
            for command in COMMANDS:
                trial = fresh(folder, folder.with_name("loading"), command)
                said = StringIO()
                with chdir(trial), redirect_stdout(said), redirect_stderr(said):
                    code = _run(command.arguments)
                if code:
                    raise RuntimeError(f"{command.name} does not run: {said.getvalue()}")
            signal.signal(signal.SIGTERM, handler)  # a new process has none of the command line's
            yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        shutil.rmtree(folder.with_name("loading"), ignore_errors=True)


def fresh(source: Path, folder: Path, command: Command) -> Path:
    """A folder with what a command reads, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in command.inputs:
        shutil.copy(source / name, folder / name)
    return folder


def _run(arguments: Sequence[str]) -> int:
    """The command line in this process; its exit code."""
    from bayescascade.cli.app import main

    sys.argv = ["bayescascade", *arguments]
    try:
        main()
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


class Process:
    """A command in a fork of this process, in a folder of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path, before: Callable[[], None] | None = None) -> None:
        file, said = tempfile.mkstemp()  # not beside the trial, whose disk may be full
        self.said = Path(said)
        self.pid = os.fork()
        if self.pid:
            os.close(file)
            return
        code = 70
        try:
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(file, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            if before is not None:
                before()
            code = _run(arguments)
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
        finally:
            os._exit(code)

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Its end; what is stuck is killed."""
        since = time.monotonic()  # so that what is measured after a signal is how long its answer took
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code: int | None = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() - since > PATIENCE:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                code = None
                break
            time.sleep(0.001)
        said = self.said.read_text(encoding="utf-8", errors="replace")
        self.said.unlink()
        return Ended(code, said, time.monotonic() - since)


def complete(command: Command, folder: Path, before: Callable[[], None] | None = None) -> Ended:
    """Run a command to its end."""
    return Process(command.arguments, folder, before).wait()


def parts_in(folder: Path) -> list[str]:
    """Files that are being written, or were when their writer was killed."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*.part*"))


def interrupt(command: Command, folder: Path, number: int, rng: np.random.Generator, seconds: float) -> Ended:
    """Send a signal at a moment drawn over the run; every other time as soon as a file is being written."""
    process = Process(command.arguments, folder)
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0.0, seconds))
    else:
        skip, deadline = int(rng.integers(len(command.makes) + 1)), time.monotonic() + 2 * seconds + 1.0
        seen: set[str] = set()
        while time.monotonic() < deadline and len(seen) <= skip and _alive(process.pid):
            seen.update(parts_in(folder))
        time.sleep(float(rng.choice([0.0, 0.0005, 0.002])))
    process.send(number)
    return process.wait()


def _alive(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def trouble_in(command: Command, folder: Path, old: dict[str, bytes]) -> list[str]:
    """What is not as it should be: each file is what was there before, or the whole new one."""
    found = []
    for name, read in command.makes.items():
        path = folder / name
        if not path.exists():
            if name in old:
                found.append(f"{name} is gone")
        elif path.read_bytes() != old.get(name):
            try:
                read(path)
            except Exception as error:
                found.append(f"{name} is not whole: {type(error).__name__}: {error}")
    for path in (folder / "cells").glob("*.parquet"):
        if not path.name.startswith("."):
            found += _trouble_of_cell(path)
    return found


def _trouble_of_cell(path: Path) -> list[str]:
    try:
        table = pd.read_parquet(path)
        Result(**table.iloc[0].drop("key").to_dict())
        Store(path.parent)
    except Exception as error:
        return [f"{path.name} is no whole cell: {type(error).__name__}: {error}"]
    return []
