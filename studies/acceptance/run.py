"""Which acceptance rate NUTS should aim at: effective draws, divergences and processor time of fits with a difficulty.

Run from the project's root: ``python -m studies.acceptance.run``. Writes ``docs/evidence/acceptance.md``. Logs are
simulated; what was measured is kept in ``build/acceptance.csv``, and a run that was stopped goes on from there.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import ess, rhat

import bayescascade as bc
from bayescascade.inference.sampling import SamplerConfig, compiled_with, sample
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from studies.common.command import parse
from studies.long_logs.run import HARD

TARGETS = (0.8, 0.85, 0.9, 0.95)
EASY = HARD | {"loading": 0.0, "discrimination": 0.0, "unanswerable": 0.0}
STRONG = HARD | {"loading": 0.85, "discrimination": 2.0, "tau": 0.0, "unanswerable": 0.1}
# stages, queries, tasks, and what is simulated
CASES: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "3 stages, 15 queries": (3, 15, 1, HARD),
    "3 stages, 100 queries": (3, 100, 1, HARD),
    "3 stages, 400 queries": (3, 400, 1, HARD),
    "3 stages, 400 queries, no difficulty": (3, 400, 1, EASY),
    "3 stages, 100 queries, a strong one": (3, 100, 1, STRONG),
    "5 stages, 300 queries": (5, 300, 1, HARD),
    "3 stages, 3 tasks of 50 queries": (3, 150, 3, HARD),
    "3 stages, 3 tasks of 50 queries, a strong one": (3, 150, 3, STRONG),
}
# what decisions are computed from; offsets of atoms and splits of margins that a log does not have are left out
NAMES = ("tau", "loading", "discrimination", "unanswerable", "intercept", "slope", "cost")


def simulated(case: str, seed: int) -> xr.Dataset:
    """The log of a case."""
    n_stages, n, n_tasks, how = CASES[case]
    log = bc.simulate(n, n_stages=n_stages, random_seed=100 + seed, **how)
    return log if n_tasks == 1 else log.assign_coords(task=("query", (np.arange(n) % n_tasks).astype(str)))


def measure(case: str, target: float, seed: int) -> dict[str, float]:
    """Effective draws of the quantity that mixes worst, its R-hat, divergences, and seconds of a processor."""
    log = simulated(case, seed)
    options = check_options(None, "polya_tree", "logistic", log.sizes["stage"] - 1, difficulty=True)
    design = build_design(log, options)
    compiled_with(design)
    start = time.process_time()
    drawn = sample(design, SamplerConfig(random_seed=seed, target_accept=target))
    seconds = time.process_time() - start
    posterior = drawn["posterior"].to_dataset()[list(NAMES)]
    return {
        "ess": min(float(v.min()) for v in ess(posterior).data_vars.values()),
        "rhat": max(float(v.max()) for v in rhat(posterior).data_vars.values()),
        "divergences": int(drawn["sample_stats"]["diverging"].sum()),
        "seconds": seconds,
    }


def lines(table: pd.DataFrame, case: str) -> list[str]:
    """A row of the page for each target."""
    found = []
    for target, rows in table[table["case"] == case].groupby("target"):
        mean, n = rows.mean(numeric_only=True), len(rows)
        found.append(
            f"| {case} | {target:g} | {mean['ess']:,.0f} | {mean['ess'] / mean['seconds']:,.0f} | {mean['seconds']:.1f} | "
            f"{(rows['divergences'] > 0).sum()} of {n} | {(rows['rhat'] > 1.01).sum()} of {n} |"
        )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("acceptance", __doc__, argv, seeds=range(6))
    rows = run.rows(("case", "target", "seed"))
    cases, seeds = (list(CASES)[:1], [0]) if run.quick else (list(CASES), list(run.seeds))
    for cell in rows.missing([(case, target, seed) for case in cases for seed in seeds for target in TARGETS]):
        rows.add(cell, [measure(*cell)])
        print(*cell, flush=True)
    table = rows.table
    run.write(f"""# The acceptance rate that NUTS aims at

`python -m studies.acceptance.run`: simulated logs, fits with a difficulty and 4 x 1000 draws, {len(seeds)} of each kind. Effective draws are those of
the quantity that has fewest, a mean over fits; processor seconds are of sampling alone.

| log | `target_accept` | effective draws | per second | seconds | fits with divergences | fits with R-hat above 1.01 |
|---|---|---|---|---|---|---|
{chr(10).join(line for case in cases for line in lines(table, case))}

Of a log with one task the default is 0.9: at 0.95 steps are shorter and not more, so that draws depend on each other more. Of tasks it
is 0.95, where trajectories are twice as long.
""")


if __name__ == "__main__":
    main()
