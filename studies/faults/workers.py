"""`fit-tasks` killed while real worker processes fit its tenants.

The workers, and their scheduler, are processes that stay from trial to trial, as those of a cluster do: started
anew they would take most of a trial to load what fits need. What is killed is the command that gives them work.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from unittest.mock import patch

import pandas as pd

import bayescascade as bc
from studies.faults.commands import TENANTS, files_of, of_tenants
from studies.faults.harness import Command, complete, fresh

NAME = "fit-tasks, two workers"
_N_QUERIES, _TUNE = 40, 40
_CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextmanager
def command_with_workers(folder: Path, trial: Path) -> Iterator[Command]:
    """The command, whose inputs are in ``folder`` and whose fits are short, to be run in ``trial``."""
    folder.mkdir(parents=True, exist_ok=True)
    bc.write_log(bc.load_example().isel(query=slice(_N_QUERIES)), folder / "log.csv")
    table = pd.read_csv(folder / "log.csv")
    pd.concat([table.assign(task=name) for name in TENANTS]).to_csv(folder / "tenants.csv", index=False)
    (folder / "cluster.py").write_text(_CLUSTER, encoding="utf-8")
    call = [sys.executable, str(folder / "cluster.py")]
    short = wraps(bc.fit_tasks)(partial(bc.fit_tasks, tune=_TUNE))  # an option that the command line lacks
    with (
        subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster,
        patch.object(bc, "fit_tasks", short),
    ):
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        try:
            command = Command(
                NAME,
                (
                    # workers stand in another folder than the trial, so the fits' folder is named in full
                    *("fit-tasks", "tenants.csv", "--kind", "probability", "-o", str(trial / "fits")),
                    *("--no-difficulty", "--draws", "8", "--chains", "2", "--no-checks", "--seed", "1"),
                    *("--scheduler", address),
                ),
                files_of("fits", "nc", bc.load_fit),
                ("tenants.csv",),
                goes_on=True,
                kept=of_tenants("fits"),
            )
            complete(command, fresh(folder, trial, command.inputs))  # workers compile once
            yield command
        finally:
            cluster.stdin.close()
