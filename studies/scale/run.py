"""How time and memory of counting many files, and of fitting many tenants, grow.

Run from the project's root: ``python -m studies.scale.run``. Writes ``docs/evidence/scale.md``. Logs are simulated.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayescascade as bc
from bayescascade._common.parallel import n_cores
from studies.common.command import parse

ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
MOST_CSV = MOST_IN_MEMORY = 1_000_000
STAGES = (2, 5, 10, 20, 30)
ROWS_OF_STAGES = 600_000
TENANTS = (1, 4, 12)
QUERIES = 100  # of a tenant
ROWS_A_FILE = 1_000_000
OF_FIT: dict[str, Any] = {"draws": 500, "chains": 4, "difficulty": False}


def write_files(folder: Path, n_rows: int, n_stages: int, ending: str) -> None:
    """A long log in files of a million rows."""
    folder.mkdir()
    for number, start in enumerate(range(0, n_rows, ROWS_A_FILE)):
        rng = np.random.default_rng(number)
        n = min(ROWS_A_FILE, n_rows - start) // n_stages
        shape = (n, n_stages)
        table = pd.DataFrame(
            {
                "query": np.repeat(np.arange(n) + start, n_stages),
                "stage": np.tile(names_of(n_stages), n),
                "confidence": rng.uniform(size=shape).ravel(),
                "correct": (rng.uniform(size=shape) < np.linspace(0.6, 0.9, n_stages)).ravel(),
                "cost": (rng.gamma(4.0, size=shape) * 2.0 ** np.arange(n_stages)).ravel(),
            }
        )
        write = table.to_parquet if ending == "parquet" else table.to_csv
        write(folder / f"{number:03d}.{ending}", index=False)


def names_of(n_stages: int) -> list[str]:
    return [f"s{i}" for i in range(n_stages)]


def count(folder: str, n_stages: int) -> float:
    """Error of a policy on all files, by their counts."""
    thresholds, stages = policy(n_stages), names_of(n_stages)
    counted = bc.aggregate(folder, thresholds, confidence_kind="probability", stages=stages)
    return float(bc.score(counted, thresholds)["error"])


def in_memory(folder: str, n_stages: int) -> float:
    """The same by `read_log`."""
    table = pd.concat([pd.read_parquet(path) for path in sorted(Path(folder).iterdir())])
    log = bc.read_log(table, confidence_kind="probability", stages=names_of(n_stages))
    return float(bc.score(log, policy(n_stages))["error"])


def policy(n_stages: int) -> list[float]:
    return [*[0.8] * (n_stages - 1), -np.inf]


def peak() -> float:
    """Most memory that this process has held, in MB."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measured(
    work: Callable[[str, int], float], folder: str, small: str, n_stages: int
) -> tuple[float, float, float]:
    """Seconds, and MB above those of an idle process, of some work; and what it found."""
    warnings.simplefilter("ignore", bc.CascadeWarning)
    work(small, n_stages)  # what is loaded on first use
    before, start = peak(), time.perf_counter()
    found = work(folder, n_stages)
    return time.perf_counter() - start, peak() - before, found


def alone(
    work: Callable[[str, int], float], folder: Path, small: Path, n_stages: int
) -> tuple[float, float, float]:
    """`measured` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (work, str(folder), str(small), n_stages))


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """Exponent of the growth between the last two sizes."""
    if len(sizes) < 2:
        return "n/a"
    return f"{np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2]):.2f}"


def by_rows(place: Path, sizes: Sequence[int]) -> tuple[list[str], str]:
    """Rows of the table by number of rows, and the exponent for Parquet."""
    small = {ending: place / f"small-{ending}" for ending in ("parquet", "csv")}
    for ending, folder in small.items():
        write_files(folder, 3_000, 3, ending)
    lines, seconds = [], []
    for n in sizes:
        folder = place / f"{n}-parquet"
        write_files(folder, n, 3, "parquet")
        took, held, error = alone(count, folder, small["parquet"], 3)
        seconds.append(took)
        cells = [f"{took:.2f}", f"{held:.0f}"]
        if n <= MOST_CSV:
            write_files(place / f"{n}-csv", n, 3, "csv")
            cells += [
                f"{x:.{d}f}"
                for x, d in zip(alone(count, place / f"{n}-csv", small["csv"], 3)[:2], (2, 0), strict=True)
            ]
        else:
            cells += ["", ""]
        if n <= MOST_IN_MEMORY:
            took, held, other = alone(in_memory, folder, small["parquet"], 3)
            assert abs(error - other) < 1e-12
            cells += [f"{took:.2f}", f"{held:.0f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {n:,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines, slope(sizes, seconds)


def by_stages(place: Path, stages: Sequence[int], n_rows: int) -> tuple[list[str], str]:
    lines, seconds = [], []
    for k in stages:
        small, folder = place / f"small-{k}-stages", place / f"{k}-stages"
        write_files(small, 10 * k, k, "parquet")
        write_files(folder, n_rows, k, "parquet")
        took, held, _ = alone(count, folder, small, k)
        seconds.append(took)
        lines.append(f"| {k} | {took:.2f} | {held:.0f} |")
        print(lines[-1], flush=True)
    return lines, slope([*stages[:1], *stages[-1:]], [*seconds[:1], *seconds[-1:]])


def by_tenants(place: Path, tenants: Sequence[int], options: dict[str, Any]) -> list[str]:
    """Seconds of fits on one worker and on two, of a cluster that has compiled."""
    from distributed import Client, LocalCluster

    lines = []
    for workers in (1, 2):
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
        with cluster, Client(cluster) as client:
            first = {
                f"first{i}": bc.simulate(QUERIES, n_stages=3, random_seed=100 + i) for i in range(2 * workers)
            }
            start = time.perf_counter()
            bc.fit_tasks(first, place / f"first-{workers}", client=client, **options)
            compiling = time.perf_counter() - start
            for n in tenants:
                logs = {f"t{i}": bc.simulate(QUERIES, n_stages=3, random_seed=i) for i in range(n)}
                start = time.perf_counter()
                fits = bc.fit_tasks(logs, place / f"{workers}-{n}", client=client, **options)
                took = time.perf_counter() - start
                assert len(fits.fitted) == n
                size = sum(path.stat().st_size for path in (place / f"{workers}-{n}").glob("*.nc")) / n / 1e6
                lines.append(f"| {workers} | {n} | {took:.1f} | {took / n:.1f} | {compiling:.0f} | {size:.1f} |")
                print(lines[-1], flush=True)
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("scale", __doc__, argv)
    warnings.simplefilter("ignore", bc.CascadeWarning)
    quick = {"draws": 50, "chains": 2, "difficulty": False, "checks": False}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows, growth = by_rows(place, ROWS[:1] if run.quick else ROWS)
        stages, by_stage = by_stages(
            place, STAGES[:1] if run.quick else STAGES, 600 if run.quick else ROWS_OF_STAGES
        )
        tenants = by_tenants(place, TENANTS[:1] if run.quick else TENANTS, quick if run.quick else OF_FIT)
    load = os.getloadavg()[1]
    run.write(f"""# Many rows, many tenants

`python -m studies.scale.run`: simulated logs. Times are wall-clock times. At the end of the run {load:.0f} processes competed for the {n_cores()} cores of the machine. So
times are upper bounds, and with several workers each had less than a core.

## Rows

A policy of three stages, scored on files of a million rows each in the long layout. The table shows wall-clock seconds, and MB of memory beyond those of a process that has
scored a small log. DuckDB may take 1 GB before it writes to disk; `memory_limit` sets it.

| rows | Parquet, s | MB | CSV, s | MB | `read_log` and `score`, s | MB |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Where both were run, the errors are equal. From the last size but one to the last, the time of Parquet grows as the rows to the power {growth}.

## Stages

{ROWS_OF_STAGES:,} rows of Parquet.

| stages | s | MB |
|---|---|---|
{chr(10).join(stages)}

From the least number to the greatest, the time grows as the stages to the power {by_stage}.

## Tenants

`fit_tasks` with checks: {QUERIES} labelled queries of three stages for each tenant, {OF_FIT["chains"]} x {OF_FIT["draws"]} draws, without a difficulty. Workers are processes of one thread. The time of the first tenants,
two for each worker, holds the compiling, or the loading of what an earlier run had compiled.

| workers | tenants | s | s a tenant | first tenants, s | MB a fit |
|---|---|---|---|---|---|
{chr(10).join(tenants)}
""")


if __name__ == "__main__":
    main()
