"""Faults injected: commands that are killed, disks that are full, folders that nobody may write to, and the like.

Run from the project's root: ``python -m studies.faults.run``. Writes ``docs/evidence/faults.md``.
``--replications`` is how often each command gets each signal. Faults that this machine does not allow to make, such as a
small disk, are named as not run.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import bayescascade as bc
from studies.common.command import Run, parse
from studies.faults import single
from studies.faults.harness import (
    COMMANDS,
    Command,
    complete,
    fresh,
    interrupt,
    parts_in,
    prepared,
    trouble_in,
)

SIGNALS = {"SIGKILL": 9, "SIGTERM": 15}
INTRODUCTION = """# Faults

What the commands leave behind when something goes wrong. Each trial is a process of its own, in a folder of its own,
every other time with an older file in the place of the new one. After it, each file has to be the older one to the byte, or the
whole new one as its reader takes it.

## Killed at a random moment

Half of the signals come at a moment drawn over the length of the run, the other half while a file is being written. `fit` is
given a fit that is ready, so that it is its reading and its writing that are interrupted.
"""
REMARKS = """
- *Half-written*: files that are neither the older one nor a whole new one.
- *Parts left*: trials after which a part file was there, under its hidden name. Nothing cleans up after `kill -9`, so there may be one; the
  command run again takes it over. After SIGTERM there is none.
- *Parts after the next run*: trials after which the command, run again, did not end well or left a part. Every tenth trial
  is followed by such a run.
- *Kept cells*: finished cells of `compare --resume` that the next run found and did not work out again, of those that
  there were.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the trials, and write the page."""
    run = parse("faults", __doc__, argv, parts=[command.name for command in COMMANDS], replications=100)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        ready = Path(home, "ready")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log = bc.load_example().isel(query=slice(60))
            fit = bc.fit(log, draws=25, tune=100, chains=2, random_seed=1, progressbar=False)
        wanted = [command for command in COMMANDS if command.name in run.parts]
        with prepared(ready, fit):
            killed = [row for command in wanted for row in killed_at_random(run, command, ready)]
            others = single.all_of(
                ready, [command for command in wanted if not run.quick or command.name == "tune"]
            )
    write(run, killed, others, (time.monotonic() - start) / 60)


def killed_at_random(run: Run, command: Command, ready: Path) -> list[dict[str, object]]:
    """Rows of a command, one for each signal."""
    n = 3 if run.quick else run.replications
    rows = run.rows(("command", "signal"))
    for name, number in SIGNALS.items():
        if (command.name, name) not in rows:
            rows.add((command.name, name), [trials(command, ready, number, n)])
            print(rows.table.iloc[-1].to_dict(), flush=True)
    table = rows.table
    return table[table["command"] == command.name].to_dict("records")


def trials(command: Command, ready: Path, number: int, n: int) -> dict[str, object]:
    """Send a signal to so many runs of a command, and count what was found."""
    rng = np.random.default_rng([number, *command.name.encode()])
    folder = ready.with_name("trial")
    fresh(ready, folder, command)
    start = time.monotonic()
    whole = complete(command, folder)
    seconds = time.monotonic() - start
    if whole.code:
        raise RuntimeError(f"{command.name} does not run: {whole.stderr}")
    made = {name: (folder / name).read_bytes() for name in command.makes}
    found = dict.fromkeys(("interrupted", "half", "left", "not_again", "cells", "kept", "stuck"), 0)
    slowest = 0.0
    for trial in range(n):
        fresh(ready, folder, command)
        old = made if trial % 2 else {}
        for name, content in old.items():
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
            cells = {path: path.stat().st_ino for path in (folder / "cells").glob("*.parquet")}
            again = complete(command, folder)
            found["not_again"] += again.code != 0 or bool(trouble_in(command, folder, {}) or parts_in(folder))
            found["cells"] += len(cells)
            found["kept"] += sum(path.exists() and path.stat().st_ino == inode for path, inode in cells.items())
    return {"trials": n, **found, "seconds": round(slowest, 1)}


def write(run: Run, killed: list[dict[str, object]], others: list[single.Found], minutes: float) -> None:
    """The page."""
    table = pd.DataFrame(killed)
    lines = [
        INTRODUCTION,
        "| command | signal | trials | ended by it | half-written | stuck | parts left | parts after the next run "
        "| kept cells |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
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
    lines += [f"| {row.fault} | {row.runs or 'not run here'} | {row.good} | {row.should} |" for row in others]
    shown = [f"- {row.fault}: {text}" for row in others for text in row.trouble]
    lines += ["", *(["What was not:", "", *shown, ""] if shown else [])]
    lines.append(
        f"Made by `python -m studies.faults.run` in {minutes:.0f} minutes on {os.cpu_count()} shared cores.\n"
    )
    run.write("\n".join(lines))


if __name__ == "__main__":
    main()
