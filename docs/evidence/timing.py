"""Fit time by stages, queries and families, and the convergence of every real log under the defaults.

Run from the project's root, on a quiet machine: ``.venv/bin/python docs/evidence/timing.py``. Writes ``docs/evidence/timing.md``;
``timing.py families logs`` runs some parts only, which stand in ``build/timing`` till then.
Times are those of a refit with a compiled model, the best of two; compiling is not part of them.
"""

import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from protocol import DATA

import bayescascade as bc
from bayescascade.copulas import FAMILIES
from bayescascade.design import build_design
from bayescascade.sampling import Sampling, convergence, fit_design
from bayescascade.structure import check_options

OUT, BUILD = Path(__file__).with_suffix(".md"), Path("build/timing")
HOW = Sampling(draws=500, tune=300, chains=4, random_seed=1, log_likelihood=False)


def seconds(log: xr.Dataset, copula: str = "gumbel") -> tuple[float, float]:
    """Time of a refit, and leapfrog steps for each draw."""
    design = build_design(log, check_options(copula, "polya_tree", "logistic", "mean", log.sizes["stage"] - 1))
    fit = fit_design(design, log, HOW)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        fit = fit_design(build_design(log, design.options), log, HOW)
        times.append(time.perf_counter() - start)
    return min(times), float(fit["sample_stats"]["n_steps"].mean())


def by_stages() -> list[str]:
    rows = []
    for k in (2, 3, 5, 8, 12):
        spent, steps = seconds(bc.simulate(285, n_stages=k, top_atom=0.2, random_seed=1))
        rows.append(f"| {k} | {spent:.2f} | {spent / k:.3f} | {steps:.1f} |")
        print("stages", rows[-1], flush=True)
    head = [
        "## By stages, 285 queries",
        "",
        "| stages | seconds | per stage | leapfrog steps a draw |",
        "|---|---|---|---|",
    ]
    return [*head, *rows, ""]


def by_queries() -> list[str]:
    rows = []
    for n in (100, 300, 1000, 3000, 10_000):
        spent, steps = seconds(bc.simulate(n, n_stages=5, top_atom=0.2, random_seed=1))
        rows.append(f"| {n:,} | {spent:.2f} | {1e3 * spent / n:.2f} | {steps:.1f} |")
        print("queries", rows[-1], flush=True)
    head = [
        "## By queries, 5 stages",
        "",
        "| queries | seconds | ms per query | leapfrog steps a draw |",
        "|---|---|---|---|",
    ]
    return [*head, *rows, ""]


def by_family() -> list[str]:
    log = bc.simulate(285, n_stages=5, top_atom=0.2, random_seed=1)
    base, rows = None, []
    for name in FAMILIES:
        spent, steps = seconds(log, name)
        base = base or spent
        rows.append(f"| {name} | {spent:.2f} | {spent / base:.2f} | {steps:.1f} |")
        print("family", rows[-1], flush=True)
    head = [
        "## By family, 5 stages, 285 queries",
        "",
        "| family | seconds | times Gumbel | leapfrog steps a draw |",
    ]
    return [*head, "|---|---|---|---|", *rows, ""]


def by_log() -> list[str]:
    rows = []
    for path in sorted(DATA.glob("*.parquet")):
        parts = path.name.split(".")
        if len(parts) != 4:
            continue
        kind = "logprob" if parts[0] in ("mmlu", "medmcqa") else "p_true"
        log = bc.read_log(path, confidence_kind=kind, cost="answer_cost")
        start = time.perf_counter()
        fit = bc.fit(log, random_seed=1, progressbar=False, log_likelihood=False)
        spent, found = time.perf_counter() - start, convergence(fit)
        rows.append(
            f"| {path.name.removesuffix('.parquet')} | {log.sizes['query']:,} | {found['rhat']:.4f} | "
            f"{found['ess_bulk']:.0f} | {found['divergences']} | {spent:.1f} |"
        )
        print(rows[-1], flush=True)
    head = [
        "## Every real log under the defaults (4 x 1000 draws)",
        "",
        "Seconds include compiling where a structure occurs first.",
        "",
        "| log | queries | worst R-hat | smallest bulk ESS | divergences | seconds |",
        "|---|---|---|---|---|---|",
    ]
    return [*head, *rows, ""]


PARTS = {"stages": by_stages, "queries": by_queries, "families": by_family, "logs": by_log}


def main(names: list[str]) -> None:
    """Run some parts, all by default, and write the page of all parts run so far."""
    warnings.simplefilter("ignore", bc.CascadeWarning)
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in names or list(PARTS):
        lines = PARTS[name]()
        (BUILD / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    found = [
        (BUILD / f"{name}.md").read_text(encoding="utf-8") for name in PARTS if (BUILD / f"{name}.md").exists()
    ]
    intro = [
        "# Times and convergence",
        "",
        f"`.venv/bin/python docs/evidence/timing.py`: refits of 4 x 500 draws after 300 on {os.cpu_count()} cores, best of two. "
        "The first fit of a structure also compiles it, see {doc}`../decisions`.",
        "",
    ]
    OUT.write_text("\n".join([*intro, *found]), encoding="utf-8")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(sys.argv[1:])
