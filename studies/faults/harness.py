"""Commands run in processes of their own that may be killed at any moment, and what they leave behind.

A process is a fork of one that has everything loaded, so that what is interrupted is the command's own work and a
hundred trials take minutes.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

Reader = Callable[[Path], object]
PATIENCE = 400.0  # seconds after which a process that does not end is called stuck; a busy machine is slow


def _nothing(folder: Path) -> list[str]:
    return []


def _no_files(folder: Path) -> set[Path]:
    return set()


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes
    ----------
    arguments
        On the command line.
    makes
        How each file that it makes is read as whole.
    inputs
        Files and folders that it reads.
    goes_on
        It goes on where it was, so that what is there is no older file, and what it keeps are files by `kept`.
    kept, trouble
        Pieces that the next run is to find done, and what is wrong with pieces.
    """

    name: str
    arguments: tuple[str, ...]
    makes: dict[str, Reader] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("fit.nc", "log.csv", "policy.json")
    goes_on: bool = False
    kept: Callable[[Path], set[Path]] = _no_files
    trouble: Callable[[Path], list[str]] = _nothing


class Ended(NamedTuple):
    """How a process ended: its exit code, below 0 the signal that ended it; None where it was stuck."""

    code: int | None
    stderr: str
    seconds: float


def fresh(source: Path, folder: Path, inputs: Sequence[str]) -> Path:
    """A folder with what a command reads, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in inputs:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name)
        else:
            shutil.copy(source / name, folder / name)
    return folder


def run_here(arguments: Sequence[str]) -> int:
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
            code = run_here(arguments)
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
    found += command.trouble(folder)
    return found
