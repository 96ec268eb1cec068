"""Faults other than signals: disks, folders, homes, writers, clocks and pipes."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from studies.faults.harness import PATIENCE, Command, Ended, Process, complete, fresh, parts_in, trouble_in

NOBODY = 65534


@dataclass
class Found:
    """What came of one fault: how many runs, how many were as they should be, and what was not."""

    fault: str
    should: str
    runs: int = 0
    good: int = 0
    trouble: list[str] = field(default_factory=list)

    def add(self, name: str, *problems: str | bool) -> None:
        wrong = [problem for problem in problems if problem]
        self.runs += 1
        self.good += not wrong
        self.trouble += [f"{name}: {problem}" for problem in wrong]


def refused(ended: Ended) -> str:
    """What is wrong with an end that should be one sentence and exit code 2."""
    said = ended.stderr.strip().splitlines()
    if ended.code != 2 or "Traceback" in ended.stderr or not said or not said[-1].startswith("Error:"):
        return f"exit code {ended.code}, {ended.stderr[-300:]!r}"
    return ""


def went_well(ended: Ended) -> str:
    """What is wrong with an end that should be a success."""
    return "" if ended.code == 0 else f"exit code {ended.code}, {ended.stderr[-300:]!r}"


@contextmanager
def small_disk(size: str) -> Iterator[Path | None]:
    """A file system of a few bytes, or None where none can be made."""
    with tempfile.TemporaryDirectory() as place:
        options = ("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
        if shutil.which("mount") is None or subprocess.run(options, capture_output=True).returncode:
            yield None
            return
        try:
            yield Path(place)
        finally:
            subprocess.run(("umount", "-l", place), check=True)


def full_disk(ready: Path, commands: Sequence[Command]) -> Found:
    found = Found("disk full", "exit code 2 and a sentence; the older file as it was, no part left")
    for command in commands:
        with small_disk("4m") as disk:
            if disk is None:
                return found
            folder = fresh(ready, disk / "trial", command.inputs)
            old = {name: b"older" for name in command.makes}
            for name, content in old.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(content)
            _fill(disk / "rest")
            ended = complete(command, folder)
            found.add(command.name, refused(ended), *trouble_in(command, folder, old), *parts_in(folder))
    return found


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 512)
        except OSError:
            return


def no_permission(ready: Path, commands: Sequence[Command]) -> Found:
    found = Found("folder that may not be written to", "exit code 2 and a sentence")
    if os.geteuid() != 0:
        return found

    def become_nobody() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    ready.parent.chmod(0o755)
    for command in commands:
        folder = fresh(ready, ready.with_name("trial"), command.inputs)
        folder.chmod(0o555)
        ended = complete(command, folder, become_nobody)
        found.add(command.name, refused(ended), *trouble_in(command, folder, {}), *parts_in(folder))
    return found


def two_writers(ready: Path, commands: Sequence[Command]) -> Found:
    found = Found("two writers of one file", "both end well; the file is one of the two, no part left")
    for command in commands:
        if command.goes_on:  # `run` refuses the second one
            continue
        folder = fresh(ready, ready.with_name("trial"), command.inputs)
        both = [Process(command.arguments, folder) for _ in range(2)]
        ended = [process.wait() for process in both]
        found.add(command.name, *map(went_well, ended), *trouble_in(command, folder, {}), *parts_in(folder))
    return found


def clock_jumps(ready: Path, commands: Sequence[Command]) -> Found:
    found = Found("clock that jumps by years, both ways", "ends well, with whole files")

    def jump() -> None:
        drawn, real = random.Random(1), time.time
        time.time = lambda: real() + drawn.uniform(-1e9, 1e9)

    for command in commands:
        folder = fresh(ready, ready.with_name("trial"), command.inputs)
        for name in command.inputs:
            os.utime(folder / name, (4e9, 4e9))
        ended = complete(command, folder, jump)
        found.add(command.name, went_well(ended), *trouble_in(command, folder, {}), *parts_in(folder))
    return found


def _in_a_new_process(
    command: Command, folder: Path, stdout: int | None = subprocess.DEVNULL, shell: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "bayescascade.cli", *command.arguments]
    if shell:
        line = ["sh", "-c", f'exec "$@" {shell}', "sh", *line]
    return subprocess.run(
        line,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.getcwd()} | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=10 * PATIENCE,
    )


def _as_ended(done: subprocess.CompletedProcess[str]) -> Ended:
    return Ended(done.returncode, done.stderr, 0.0)


def no_home(ready: Path, commands: Sequence[Command]) -> Found:
    """/proc takes no folder, from root neither, so a home in it is missing and cannot be made."""
    found = Found("home that is missing, or read-only", "ends well, or exit code 2 and a sentence; whole files")
    for command in commands:
        if command.name == "fit":  # here it would sample; `tests/inference/test_compiling.py` runs it so
            continue
        for home in ("/proc/nowhere", "/proc"):
            folder = fresh(ready, ready.with_name("trial"), command.inputs)
            ended = _as_ended(_in_a_new_process(command, folder, HOME=home, XDG_CACHE_HOME="", XDG_CONFIG_HOME=""))
            wrong = went_well(ended) and refused(ended)
            found.add(command.name, wrong, *trouble_in(command, folder, {}), *parts_in(folder))
    return found


def closed_stdout(ready: Path, commands: Sequence[Command]) -> Found:
    found = Found("standard output closed, or its reader gone", "whole files, no traceback")
    for command in commands:
        if command.name == "fit":
            continue
        for shell in (">&-", "| true"):
            folder = fresh(ready, ready.with_name("trial"), command.inputs)
            done = _in_a_new_process(command, folder, shell=shell)
            missing = [f"{name} is not there" for name in command.makes if not (folder / name).exists()]
            raw = "Traceback" in done.stderr or "Exception ignored" in done.stderr
            found.add(
                f"{command.name} {shell}", raw and done.stderr[-300:], *missing, *trouble_in(command, folder, {})
            )
    return found


def slow_pipe(ready: Path, commands: Sequence[Command]) -> Found:
    found = Found("output to a pipe that is read slowly", "ends well; all of it comes through")
    for command in commands:
        if (
            len(command.makes) > 1 or command.goes_on
        ):  # a pipe for each would be read in turn, and none is gone on with
            continue
        ((name, read),) = command.makes.items()
        folder = fresh(ready, ready.with_name("trial"), command.inputs)
        os.mkfifo(folder / name)
        got = folder / ("got" + Path(name).suffix)
        reader = threading.Thread(target=_read_slowly, args=(folder / name, got), daemon=True)
        process = Process(command.arguments, folder)
        reader.start()
        ended = process.wait()
        reader.join(PATIENCE)
        found.add(
            command.name, went_well(ended), _unread(read, got), not _is_pipe(folder / name) and "no pipe now"
        )
    return found


def _read_slowly(pipe: Path, got: Path) -> None:
    with open(pipe, "rb") as source, open(got, "wb") as target:
        while block := source.read(4096):
            target.write(block)
            time.sleep(0.002)


def _is_pipe(path: Path) -> bool:
    return stat.S_ISFIFO(path.stat().st_mode)


def _unread(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


FAULTS = (full_disk, no_permission, two_writers, clock_jumps, no_home, closed_stdout, slow_pipe)
