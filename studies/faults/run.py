"""Faults injected: commands that are killed, disks that are full, folders that nobody may write to, and the like.

Run from the project's root: ``python -m studies.faults.run``. Writes ``docs/evidence/faults.md``.
``--replications`` is how often each command gets each signal. Faults that this machine does not allow to make, such as a
small disk, are named as not run.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import xarray as xr

import bayescascade as bc
from studies.common.command import Run, parse
from studies.common.resume import Rows
from studies.faults.commands import COMMANDS, prepared
from studies.faults.harness import Command, complete, fresh, interrupt, parts_in, trouble_in
from studies.faults.single import FAULTS
from studies.faults.workers import NAME, command_with_workers

SIGNALS = {"SIGKILL": 9, "SIGTERM": 15}
INTRODUCTION = """# Faults

This page tests what the commands leave behind when something goes wrong. Each trial is a separate process in a folder of its own. In every
other trial, there is an older file in the place of the new one. Afterwards each file must be either the older one, byte for byte, or a
complete new one that its reader accepts.

## Killed at a random moment

Half of the signals come at a moment drawn over the length of the run, the other half while a file is being written. `fit`, `fit-tasks`
and `demo` are given a fit that is ready, so that it is their own reading and writing that are interrupted; `fit-tasks` and
`tune-tasks` do the tenants' work in their own process; the models that `run` asks are functions. `fit-tasks, two workers` fits its
tenants for real, with few draws, on two worker processes that stay from trial to trial. `serve` has tests of its own.
`check`, `verdict`, `labels`, `sensitivity`, `diff`, `explain` and `score` write no file.
"""
REMARKS = """
- *Half-written*: files that are neither the older one nor a complete new one.
- *Stuck*: not finished after 400 s, and killed.
- *Parts left*: trials that left a part file, under its hidden name. Nothing cleans up after `kill -9`, so there may be one. When you run the
  command again, it takes the part over. After SIGTERM there is none.
- *Parts after the next run*: trials in which the command, run again, failed or left a part. Every tenth trial
  is followed by such a run.
- SIGTERM once left a part, in 25 trials of `simulate`: it could come between making the file and noting it. Now both are one step, and a
  test terminates the writing at each of its steps in turn.
- *Kept*: finished work that the next run found and did not repeat: cells of `compare --resume`, and fits and policies of
  tenants.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the trials, and write the page."""
    run = parse("faults", __doc__, argv, parts=[*(c.name for c in COMMANDS), NAME], replications=50)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        ready = Path(home, "ready")
        fit = small_fit(run.build / "faults.nc")
        wanted = [command for command in COMMANDS if command.name in run.parts]
        with prepared(ready, fit) if wanted else nullcontext():
            for command in wanted:
                measure(run, command, ready)
        if NAME in run.parts:
            with command_with_workers(ready, ready.with_name("trial")) as command:
                kill(run, command, ready)
    write(run, (time.monotonic() - start) / 60)


def small_fit(path: Path) -> xr.DataTree:
    """A fit of few draws, sampled once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log = bc.load_example().isel(query=slice(60))
            bc.save_fit(
                bc.fit(log, difficulty=False, draws=8, tune=60, chains=2, random_seed=1, progressbar=False), path
            )
    return bc.load_fit(path)


def tables(run: Run) -> tuple[Rows, Rows]:
    """What is kept of signals, and of other faults."""
    return run.rows(("command", "signal")), run.rows(("fault", "command"), "faults_other", ("trouble",))


def measure(run: Run, command: Command, ready: Path) -> None:
    """Every fault that was not yet injected into a command."""
    kill(run, command, ready)
    others = tables(run)[1]
    for inject in FAULTS:
        if (inject.__name__, command.name) not in others:
            found = inject(ready, [command])
            row = {"title": found.fault, "should": found.should, "runs": found.runs, "good": found.good}
            others.add((inject.__name__, command.name), [row | {"trouble": " ".join(found.trouble)}])
            print(others.table.iloc[-1].to_dict(), flush=True)


def kill(run: Run, command: Command, ready: Path) -> None:
    """The signals that were not yet sent to a command."""
    killed = tables(run)[0]
    for name, number in SIGNALS.items():
        if (command.name, name) not in killed:
            killed.add(
                (command.name, name), [trials(command, ready, number, 3 if run.quick else run.replications)]
            )
            print(killed.table.iloc[-1].to_dict(), flush=True)


def trials(command: Command, ready: Path, number: int, n: int) -> dict[str, object]:
    """Send a signal to so many runs of a command, and count what was found."""
    rng = np.random.default_rng([number, *command.name.encode()])
    folder = ready.with_name("trial")
    fresh(ready, folder, command.inputs)
    start = time.monotonic()
    whole = complete(command, folder)
    seconds = time.monotonic() - start
    if whole.code is None:
        raise RuntimeError(f"{command.name} does not end: {whole.stderr}")
    if whole.code:
        raise RuntimeError(f"{command.name} does not run: {whole.stderr}")
    made = {name: (folder / name).read_bytes() for name in command.makes}
    found = dict.fromkeys(("interrupted", "half", "left", "not_again", "cells", "kept", "stuck"), 0)
    slowest = 0.0
    for trial in range(n):
        fresh(ready, folder, command.inputs)
        old = made if trial % 2 and not command.goes_on else {}
        for name, content in old.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        ended = interrupt(command, folder, number, rng, seconds)
        slowest = max(slowest, ended.seconds)
        found["interrupted"] += ended.code != 0
        found["stuck"] += ended.code is None
        trouble = trouble_in(command, folder, old)
        for text in trouble:
            print(command.name, number, trial, text, flush=True)
        found["half"] += bool(trouble)
        found["left"] += bool(parts_in(folder))
        if trial % 10 == 9 or (parts_in(folder) and number != 9):
            cells = {path: path.stat().st_ino for path in command.kept(folder)}
            again = complete(command, folder)
            found["not_again"] += again.code != 0 or bool(trouble_in(command, folder, {}) or parts_in(folder))
            found["cells"] += len(cells)
            found["kept"] += sum(path.exists() and path.stat().st_ino == inode for path, inode in cells.items())
    return {"trials": n, **found, "seconds": round(slowest, 1)}


def write(run: Run, minutes: float) -> None:
    """The page, of all that was measured so far."""
    killed, others = (rows.table for rows in tables(run))
    lines = [
        INTRODUCTION,
        "| command | signal | trials | ended by it | half-written | stuck | parts left | parts after the next run "
        "| kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in killed.itertuples():
        kept = f"{row.kept} of {row.cells}" if row.cells else ""
        lines.append(
            f"| {row.command} | {row.signal} | {row.trials} | {row.interrupted} | {row.half} | {row.stuck} | "
            f"{row.left} | {row.not_again} | {kept} |"
        )
    lines += [
        REMARKS,
        "## Other faults",
        "",
        "| fault | runs | as it should be | what should be |",
        "|---|---|---|---|",
    ]
    for title, rows in others.groupby("title", sort=False):
        runs = int(rows["runs"].sum())
        lines.append(f"| {title} | {runs or 'not run here'} | {rows['good'].sum()} | {rows['should'].iloc[0]} |")
    shown = [f"- {row.title}: {row.trouble}" for row in others.itertuples() if row.trouble]
    lines += ["", *(["What was not:", "", *shown, ""] if shown else [])]
    lines.append(f"Made by `python -m studies.faults.run`, the last part of it in {minutes:.0f} minutes.\n")
    run.write("\n".join(lines))


if __name__ == "__main__":
    main()
