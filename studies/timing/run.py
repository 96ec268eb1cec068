"""Fit time by stages, queries and families, and the convergence of every real log under the defaults.

Run from the project's root: ``python -m studies.timing.run``. Writes ``docs/evidence/timing.md``; ``--parts families logs``
runs some parts only. Finished parts stand in ``build/timing.csv``, and are not run again while they do.
Times are those of a refit with a compiled model, the best of two; compiling is not part of them. Seconds on the clock want a quiet
machine; CPU seconds, of all threads, and the time of one gradient bear some company.
"""

import ctypes
import os
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.inference.sampling import SamplerConfig, compiled_with, convergence, fit_design, sample
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.design import Design, build_design
from bayescascade.model.options import check_options
from studies.common.command import parse
from studies.common.logs import LOGS, read, require_logs

HOW = SamplerConfig(draws=500, chains=4, random_seed=1, log_likelihood=False)


def seconds(
    log: xr.Dataset, copula: str | None = "gumbel", difficulty: bool = False
) -> tuple[float, float, float, float]:
    """Seconds and CPU seconds of a refit, microseconds of a gradient, and leapfrog steps for each draw."""
    options = check_options(copula, "polya_tree", "logistic", log.sizes["stage"] - 1, difficulty)
    design = build_design(log, options)
    fit = fit_design(design, log, HOW)
    times = []
    for _ in range(2):
        start = time.perf_counter(), time.process_time()
        fit = fit_design(build_design(log, design.options), log, HOW)
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    spent, cpu = np.min(times, axis=0)
    return float(spent), float(cpu), gradient(design), float(fit["sample_stats"]["n_steps"].mean())


def gradient(design: Design, repeats: int = 30, calls: int = 100) -> float:
    """Microseconds of one log density with its gradient, as the sampler calls it: the best of some averages."""
    model = compiled_with(design)
    pointer = ctypes.c_void_p
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, pointer, pointer, pointer, pointer)(
        model.compiled_logp_func.address
    )
    x, slope, value = 0.3 * np.random.default_rng(0).normal(size=model.n_dim), np.empty(model.n_dim), np.empty(1)
    arguments = [model.n_dim, *(a.ctypes.data for a in (x, slope, value, model.user_data))]
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        for _ in range(calls):
            call(*arguments)
        times.append(time.thread_time() - start)
    return 1e6 * min(times) / calls


def table(
    title: str, of: str, ratio: str, cases: Iterable[tuple[str, xr.Dataset, str, float | None]]
) -> list[str]:
    """Refits of some cases: a label, a log, a family, and what the CPU time is divided by (None: the first one's)."""
    rows: list[str] = []
    first = None
    for label, log, copula, size in cases:
        spent, cpu, microseconds, steps = seconds(log, copula)
        first = first or cpu
        rows.append(
            f"| {label} | {spent:.2f} | {cpu:.2f} | {cpu / (size or first):.3g} | {microseconds:.0f} | {steps:.1f} |"
        )
        print(title, rows[-1], flush=True)
    columns = [of, "seconds", "CPU seconds", ratio, "µs for a gradient", "leapfrog steps a draw"]
    return [f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows, ""]


def by_stages(numbers: Sequence[int] = (2, 3, 5, 8, 12)) -> list[str]:
    logs = ((k, bc.simulate(285, n_stages=k, top_atom=0.2, random_seed=1)) for k in numbers)
    cases = ((str(k), log, "gumbel", k) for k, log in logs)
    return table("By stages, 285 queries", "stages", "CPU seconds per stage", cases)


def by_queries() -> list[str]:
    logs = ((n, bc.simulate(n, n_stages=5, top_atom=0.2, random_seed=1)) for n in (100, 300, 1000, 3000, 10_000))
    cases = ((f"{n:,}", log, "gumbel", 1e-3 * n) for n, log in logs)
    return table("By queries, 5 stages", "queries", "CPU ms per query", cases)


def by_family() -> list[str]:
    log = bc.simulate(285, n_stages=5, top_atom=0.2, random_seed=1)
    cases = ((name, log, name, None) for name in FAMILIES)
    return table("By family, 5 stages, 285 queries", "family", "times Gumbel", cases)


def by_difficulty() -> list[str]:
    """The default model without and with a difficulty, each with its default family."""
    columns = ["queries", "stages", "top atom", "CPU seconds", "µs for a gradient", "leapfrog steps a draw"]
    rows = []
    for n, k, atom in ((285, 3, 0.0), (285, 3, 0.2), (285, 5, 0.0), (285, 5, 0.2), (3000, 5, 0.2)):
        log = bc.simulate(n, n_stages=k, top_atom=atom, loading=0.5, discrimination=0.7, random_seed=1)
        found = zip(*(seconds(log, None, difficulty)[1:] for difficulty in (False, True)), strict=True)
        both = [f"{plain:.3g} and {hard:.3g}" for plain, hard in found]
        rows.append(f"| {n:,} | {k} | {atom:.0%} | {' | '.join(both)} |")
        print(rows[-1], flush=True)
    head = ["## Without and with a difficulty", "", f"| {' | '.join(columns)} |"]
    return [*head, "|---" * len(columns) + "|", *rows, ""]


def by_setting() -> list[str]:
    """Steps of warm-up and acceptance rates, by what they cost and what they give."""
    small = [bc.simulate((30, 60, 150, 300)[i % 4], top_atom=0.2, random_seed=i) for i in range(12)]
    cases = {
        "simulated, 5 stages": [bc.simulate(285, n_stages=5, top_atom=0.2, random_seed=1)],
        **{f"{name}.train": [read(name, "train")] for name in ("mmlu.llama", "medmcqa.llama", "triviaqa.llama")},
        "simulated, 8 stages": [bc.simulate(285, n_stages=8, top_atom=0.2, random_seed=1)],
        f"{len(small)} small logs, 3 stages": small,
    }
    columns = ["log", "tune", "target_accept", "thousand gradients", "leapfrog steps a draw", "worst R-hat"]
    columns += ["smallest bulk ESS", "bulk ESS by thousand gradients", "divergences"]
    rows = []
    for case, logs in cases.items():
        for tune, target in ((300, 0.8), (200, 0.8), (200, 0.75), (300, 0.7), (300, 0.6)):
            how = replace(HOW, draws=1000, tune=tune, target_accept=target)
            found, steps, gradients = [], [], 0
            for log in logs:
                options = check_options("gumbel", "polya_tree", "logistic", log.sizes["stage"] - 1)
                raw = sample(build_design(log, options), how, save_warmup=True)
                found.append(convergence(raw))
                steps.append(float(raw["sample_stats"]["n_steps"].mean()))
                gradients += sum(
                    int(raw[part]["n_steps"].sum()) for part in ("sample_stats", "warmup_sample_stats")
                )
            least = min(f["ess_bulk"] for f in found)
            rows.append(
                f"| {case} | {tune} | {target} | {gradients / 1e3 / len(logs):.1f} | {np.mean(steps):.1f} | "
                f"{max(f['rhat'] for f in found):.4f} | {least:.0f} | "
                f"{1e3 * np.mean([f['ess_bulk'] for f in found]) * len(logs) / gradients:.1f} | "
                f"{sum(f['divergences'] for f in found)} |"
            )
            print(rows[-1], flush=True)
    head = ["## By settings of the sampler, 4 x 1000 draws", "", f"| {' | '.join(columns)} |"]
    return [*head, "|---" * len(columns) + "|", *rows, ""]


def by_log() -> list[str]:
    rows = []
    for name, split in sorted((x, s) for x in LOGS for s in ("test", "train") if s == "train" or LOGS[x].has_test):
        log = read(name, split)
        start = time.perf_counter()
        fit = bc.fit(log, random_seed=1, progressbar=False, log_likelihood=False)
        spent, found = time.perf_counter() - start, convergence(fit)
        rows.append(
            f"| {name}.{split} | {log.sizes['query']:,} | {found['rhat']:.4f} | "
            f"{found['ess_bulk']:.0f} | {found['divergences']} | {spent:.1f} |"
        )
        print(rows[-1], flush=True)
    head = [
        "## Every real log under the defaults (4 x 1000 draws)",
        "",
        "Seconds include compiling where a structure occurs first, and whatever else the machine had to do.",
        "",
        "| log | queries | worst R-hat | smallest bulk ESS | divergences | seconds |",
        "|---|---|---|---|---|---|",
    ]
    return [*head, *rows, ""]


PARTS = {
    "stages": by_stages,
    "queries": by_queries,
    "families": by_family,
    "difficulty": by_difficulty,
    "settings": by_setting,
    "logs": by_log,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts that are not there yet, and write the page of all."""
    run = parse("timing", __doc__, argv, parts=PARTS)
    np.seterr(all="ignore")
    warnings.simplefilter("ignore", bc.CascadeWarning)
    rows = run.rows(("part",), text=["line"])
    if run.quick:
        run.write("\n".join(by_stages((2,))))
        return
    for (part,) in rows.missing((part,) for part in run.parts):
        if part in ("settings", "logs"):
            require_logs()
        rows.add((part,), [{"line": line} for line in PARTS[part]()])
    run.write(page(rows.table))


def page(table: pd.DataFrame) -> str:
    """All parts run so far."""
    found = ["\n".join(table.loc[table["part"] == part, "line"]) for part in PARTS if part in set(table["part"])]
    intro = [
        "# Times and convergence",
        "",
        f"`python -m studies.timing.run`: refits of 4 x 500 draws after {HOW.tune}, where a part does not say otherwise, on {os.cpu_count()} cores, best of two. "
        "The first fit of a structure also compiles it, see {doc}`../decisions`.",
        "",
    ]
    return "\n".join([*intro, *found])


if __name__ == "__main__":
    main()
