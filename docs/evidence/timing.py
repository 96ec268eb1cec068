"""Fit time by stages, queries and families, and the convergence of every real log under the defaults.

Run from the project's root: ``.venv/bin/python docs/evidence/timing.py``. Writes ``docs/evidence/timing.md``;
``timing.py families logs`` runs some parts only, which stand in ``build/timing`` till then.
Times are those of a refit with a compiled model, the best of two; compiling is not part of them. Seconds on the clock want a quiet
machine; CPU seconds, of all threads, and the time of one gradient bear some company.
"""

import ctypes
import os
import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from protocol import DATA

import bayescascade as bc
from bayescascade.copulas import FAMILIES
from bayescascade.design import Design, build_design
from bayescascade.sampling import Sampling, compiled_with, convergence, fit_design, sample
from bayescascade.structure import check_options

OUT, BUILD = Path(__file__).with_suffix(".md"), Path("build/timing")
HOW = Sampling(draws=500, chains=4, random_seed=1, log_likelihood=False)


def seconds(log: xr.Dataset, copula: str = "gumbel") -> tuple[float, float, float, float]:
    """Seconds and CPU seconds of a refit, microseconds of a gradient, and leapfrog steps for each draw."""
    design = build_design(log, check_options(copula, "polya_tree", "logistic", log.sizes["stage"] - 1))
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


def by_stages() -> list[str]:
    logs = ((k, bc.simulate(285, n_stages=k, top_atom=0.2, random_seed=1)) for k in (2, 3, 5, 8, 12))
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


def real_log(name: str) -> xr.Dataset:
    """A real log with all its stages."""
    kind = "logprob" if name.split(".")[0] in ("mmlu", "medmcqa") else "p_true"
    return bc.read_log(DATA / f"{name}.parquet", confidence_kind=kind, cost="answer_cost")


def by_setting() -> list[str]:
    """Steps of warm-up and acceptance rates, by what they cost and what they give."""
    small = [bc.simulate((30, 60, 150, 300)[i % 4], top_atom=0.2, random_seed=i) for i in range(12)]
    cases = {
        "simulated, 5 stages": [bc.simulate(285, n_stages=5, top_atom=0.2, random_seed=1)],
        **{name: [real_log(name)] for name in ("mmlu.llama.train", "medmcqa.llama.train", "triviaqa.llama.train")},
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
    for path in sorted(DATA.glob("*.*.*.parquet")):
        name = path.name.removesuffix(".parquet")
        if name.endswith(".prompts"):
            continue
        log = real_log(name)
        start = time.perf_counter()
        fit = bc.fit(log, random_seed=1, progressbar=False, log_likelihood=False)
        spent, found = time.perf_counter() - start, convergence(fit)
        rows.append(
            f"| {name} | {log.sizes['query']:,} | {found['rhat']:.4f} | "
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


PARTS = {"stages": by_stages, "queries": by_queries, "families": by_family, "settings": by_setting, "logs": by_log}


def main(names: list[str]) -> None:
    """Run some parts, all by default, and write the page."""
    warnings.simplefilter("ignore", bc.CascadeWarning)
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in names or list(PARTS):
        lines = PARTS[name]()
        (BUILD / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    write()


def write() -> None:
    """The page of all parts run so far."""
    found = [
        (BUILD / f"{name}.md").read_text(encoding="utf-8") for name in PARTS if (BUILD / f"{name}.md").exists()
    ]
    intro = [
        "# Times and convergence",
        "",
        f"`.venv/bin/python docs/evidence/timing.py`: refits of 4 x 500 draws after {HOW.tune}, where a part does not say otherwise, on {os.cpu_count()} cores, best of two. "
        "The first fit of a structure also compiles it, see {doc}`../decisions`.",
        "",
    ]
    OUT.write_text("\n".join([*intro, *found]), encoding="utf-8")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(sys.argv[1:])
