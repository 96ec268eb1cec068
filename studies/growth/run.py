"""How processor time and memory of reading, checking and scoring a log, and of laying out its model, grow with its size.

Run from the project's root: ``python -m studies.growth.run``. Writes ``docs/evidence/growth.md``. Logs are simulated.
Seconds are of the processor, so that other work on the machine counts little.
"""

import io
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.model.design import build_design
from bayescascade.model.options import Options
from studies.common.command import parse

ROWS = (1_000, 10_000, 100_000, 1_000_000)
STAGES = (2, 5, 10, 20, 30)
TASKS = (2, 20, 200)
VALUES = (10, 100, 1_000, 10_000)


def seconds_of(work: Callable[[], object]) -> float:
    """Processor seconds of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def make_table(n_rows: int, n_stages: int, n_tasks: int = 0, n_values: int = 0) -> pd.DataFrame:
    """A long log with so many rows; maybe of some tasks, or with confidences of some distinct values."""
    rng, n = np.random.default_rng(1), n_rows // n_stages
    shape = (n, n_stages)
    confidence = rng.uniform(size=shape).ravel()
    return pd.DataFrame(
        {
            "query": np.repeat(np.arange(n), n_stages),
            "stage": np.tile([f"s{i}" for i in range(n_stages)], n),
            "confidence": np.floor(confidence * n_values) / n_values if n_values else confidence,
            "correct": (rng.uniform(size=shape) < np.linspace(0.6, 0.9, n_stages)).ravel(),
            "cost": np.broadcast_to(2.0 ** np.arange(n_stages), shape).ravel(),
            **({"task": np.repeat([f"t{i % n_tasks}" for i in range(n)], n_stages)} if n_tasks else {}),
        }
    )


def read(source: object) -> xr.Dataset:
    return bc.read_log(source, confidence_kind="probability")


def measure(table: pd.DataFrame, folder: Path) -> dict[str, float]:
    """Processor seconds of each step of one log."""
    csv, parquet = folder / "log.csv", folder / "log.parquet"
    table.to_csv(csv, index=False)
    table.to_parquet(parquet)
    log = read(table)
    thresholds = [*[0.8] * (log.sizes["stage"] - 1), -np.inf]
    return {
        "read CSV": seconds_of(lambda: read(csv)),
        "read Parquet": seconds_of(lambda: read(parquet)),
        "validate_log": seconds_of(lambda: bc.validate_log(log)),
        "score": seconds_of(lambda: bc.score(log, thresholds)),
        "design": seconds_of(lambda: build_design(log, Options(("frank",) * (log.sizes["stage"] - 1)))),
    }


def slopes(sizes: Sequence[int], took: Sequence[dict[str, float]]) -> str:
    """A row of the table: the powers with which the last two sizes say that times grow."""
    step = np.log(sizes[-1] / sizes[-2])
    powers = {name: np.log(seconds / took[-2][name]) / step for name, seconds in took[-1].items()}
    return f"| grows to the power | {' | '.join(f'{power:.2f}' for power in powers.values())} | |"


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("growth", __doc__, argv)
    warnings.simplefilter("ignore", bc.CascadeWarning)
    out = io.StringIO()
    out.write(
        "# How reading and scoring grow\n\n`python -m studies.growth.run`: simulated logs in the long layout; processor "
        "seconds.\nDesign is the layout of the model's arrays. The last column is the peak memory of the process so far. The last row is the power of the size with which\n"
        "times grow between the last two sizes. More rows than a million are counted by {doc}`scale`, fitted by {doc}`long_logs`.\n"
    )
    few = 1 if run.quick else None
    rows = 600 if run.quick else 60_000
    cells: dict[str, list[tuple[str, tuple[int, ...]]]] = {
        "rows": [(f"{n:,}", (n, 3)) for n in ROWS[:few]],
        "stages, of 60,000 rows": [(f"{k}", (rows, k)) for k in STAGES[:few]],
        "tasks, of 60,000 rows": [(f"{k}", (rows, 3, k)) for k in TASKS[:few]],
        "distinct values of each stage, of 60,000 rows": [(f"{k:,}", (rows, 3, 0, k)) for k in VALUES[:few]],
    }
    with tempfile.TemporaryDirectory() as folder:
        measure(make_table(300, 3), Path(folder))  # what is loaded on first use
        for title, sizes in cells.items():
            out.write(f"\n## By {title}\n\n")
            found = []
            for number, (size, how) in enumerate(sizes):
                took = measure(make_table(*how), Path(folder))
                found.append(took)
                if not number:
                    out.write(
                        f"| {title.split(',')[0]} | {' | '.join(took)} | MB |\n" + "|---" * (2 + len(took)) + "|\n"
                    )
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
                line = f"| {size} | {' | '.join(f'{s:.3f}' for s in took.values())} | {memory:.0f} |"
                out.write(line + "\n")
                print(line, flush=True)
            if len(found) > 1:
                out.write(slopes([int(size.replace(",", "")) for size, _ in sizes], found) + "\n")
    run.write(out.getvalue())


if __name__ == "__main__":
    main()
