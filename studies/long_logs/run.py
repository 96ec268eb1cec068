"""How time and memory of a fit grow with the queries of a log, and that its posterior stays where it was.

Run from the project's root: ``python -m studies.long_logs.run``. Writes ``docs/evidence/long_logs.md``. Logs are
simulated; each is fitted in a process of its own.
"""

import multiprocessing
import os
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import bayescascade as bc
from bayescascade._common.parallel import n_cores
from bayescascade.model.subsample import MAX_QUERIES
from studies.common.command import parse

QUERIES = (100, 1_000, 3_000, 5_000, 10_000, 100_000, 1_000_000)
ALL_LABELLED = (300, 1_000, 3_000, 5_000)
LABELLED, STAGES, DRAWS = 2_000, 5, 500
HARD: dict[str, Any] = {
    "copula": "gaussian",
    "tau": 0.2,
    "loading": 0.5,
    "discrimination": 0.7,
    "unanswerable": 0.03,
}
THRESHOLDS = [*[0.8] * (STAGES - 1), -np.inf]


def measure(n: int, n_labelled: int, draws: int) -> dict[str, float]:
    """Seconds of a fit and of its sampling, peak memory in GB, and the posterior of a policy's error and cost."""
    warnings.simplefilter("ignore", bc.CascadeWarning)
    how: dict[str, Any] = {"draws": draws, "random_seed": 1, "progressbar": False}
    bc.fit(bc.simulate(100, n_stages=STAGES, random_seed=1), **(how | {"draws": 20, "chains": 1}))  # compiles
    log = bc.simulate(n, n_stages=STAGES, n_labelled=n_labelled, random_seed=3, **HARD)
    start, cpu = time.perf_counter(), time.process_time()
    fit = bc.fit(log, **how)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    out = {
        "seconds": seconds,
        "cpu": cpu,
        "sampling": float(fit.attrs["sampling_time"]),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9,
        "used": float(fit["observed_data"].sizes["query"]),
    }
    found = bc.evaluate(fit, THRESHOLDS)
    for name, scale in (("error", 100.0), ("cost", 1000.0)):
        out |= {name: scale * float(found[name].mean()), f"{name}_sd": scale * float(found[name].std())}
    return out


def apart(n: int, n_labelled: int, draws: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, float] = pool.apply(measure, (n, n_labelled, draws))
    print(n, n_labelled, found, flush=True)
    return found


def growth(found: dict[int, dict[str, float]], sizes: Sequence[int]) -> str:
    """CPU milliseconds that each further query takes between two sizes."""
    low, high = (n for n in sizes if n in found)
    return f"{1000.0 * (found[high]['cpu'] - found[low]['cpu']) / (high - low):.1f}"


def slopes(few: dict[int, dict[str, float]], full: dict[int, dict[str, float]]) -> str:
    """What further queries take."""
    ends = 3_000, 5_000
    return f"""
From 3,000 to 5,000 queries each takes {growth(few, ends)} ms of a core more where {LABELLED:,} are labelled, and {growth(full, ends)} ms where all are.
"""


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("long_logs", __doc__, argv)
    draws = 30 if run.quick else DRAWS
    short, labelled = ((300,), (300,)) if run.quick else (QUERIES, ALL_LABELLED)
    few = {n: apart(n, min(n, LABELLED), draws) for n in short}
    full = {n: few[n] if n <= LABELLED and n in few else apart(n, n, draws) for n in labelled}
    lines = [
        f"| {n:,} | {one['used']:,.0f} | {one['seconds']:.0f} | {one['cpu']:.0f} | {one['sampling']:.0f} | "
        f"{one['memory']:.2f} | {one['error']:.1f} ± {one['error_sd']:.1f} | {one['cost']:.2f} ± {one['cost_sd']:.2f} |"
        for n, one in few.items()
    ]
    all_labelled = [
        f"| {n:,} | {one['seconds']:.0f} | {one['cpu']:.0f} | {one['sampling']:.0f} |" for n, one in full.items()
    ]
    truth = bc.score(bc.simulate(1_000_000, n_stages=STAGES, random_seed=4, **HARD), THRESHOLDS)
    run.write(f"""# Fits of long logs

`python -m studies.long_logs.run`: simulated logs of {STAGES} stages, {LABELLED:,} labelled queries at most, 4 x {DRAWS} draws with a difficulty, the model compiled
beforehand. Of a log of more than {MAX_QUERIES:,} queries, so many drawn at random enter the likelihood, and labelled queries beside them ({{doc}}`../scale`). {os.getloadavg()[1]:.0f} processes
wanted the {n_cores()} cores at the end of the run.

| queries | in the likelihood | fit, s | CPU s | of it sampling, s | peak memory, GB | error of a policy, % | cost per 1,000 queries |
|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Error and cost are posterior means ± standard deviations of the same policy. The truth, from a million queries: {100 * float(truth["error"]):.1f}% and {1000 * float(truth["cost"]):.2f}.
The memory is of the whole process, the log included.

All queries labelled:

| queries | fit, s | CPU s | of it sampling, s |
|---|---|---|---|
{chr(10).join(all_labelled)}
{"" if run.quick else slopes(few, full)}""")


if __name__ == "__main__":
    main()
