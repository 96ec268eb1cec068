"""Promises that `tune` makes, with and without doubt: kept or broken on resplit real logs, and on logs from the model.

Run from the project's root, with the logs in ``../shared/data``: ``.venv/bin/python docs/evidence/promises_tune.py 0 2`` for the
seeds 0 to 2, ``... simulated`` for logs from the model, without arguments for the page. Writes ``docs/evidence/promises_tune.md``; results go to
``build/promises_tune.csv`` and ``build/promises_simulated.csv`` as they come, and a run that was stopped goes on from there.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import resplits as rs
import xarray as xr
from promises_measures import targets_of

import bayescascade as bc
from bayescascade import discrepancy, tuning

OUT = Path(__file__).with_suffix(".md")
REAL, SIMULATED = Path("build/promises_tune.csv"), Path("build/promises_simulated.csv")
PROB, STAGES, TARGETS = 0.9, (3, 4), (1, 2)
# name: doubt, and whether what the labelled queries did can only raise the error
VARIANTS = {
    "doubt 0": (0.0, False),
    "doubt 0.3, two-sided": (0.3, False),
    "doubt 0.3": (0.3, True),
    "doubt 0.2": (0.2, True),
}
COLUMNS = ["log", "k", "n", "seed", "target", "variant", "feasible", "error", "bound", "cost"]
N_SIMULATED, LIMIT = 24, 0.25


def tuned(fit: xr.DataTree, variant: str, **goal: float | None) -> object:
    """A solution of `tune`, whose doubt is one-sided or not."""
    doubt, one_sided = VARIANTS[variant]
    read = discrepancy.read_doubt
    tuning.read_doubt = lambda fit, spread, **_: read(fit, spread, one_sided=one_sided)
    try:
        return bc.tune(fit, prob=PROB, doubt=doubt, **goal)
    finally:
        tuning.read_doubt = read


def real(first: int, last: int) -> None:
    """All splits of some seeds."""
    done = pd.read_csv(REAL) if REAL.exists() else pd.DataFrame(columns=COLUMNS)
    for name, k, n, seed in rs.cells(range(first, last + 1)):
        known = (done["log"] == name) & (done["k"] == k) & (done["n"] == n) & (done["seed"] == seed)
        if k not in STAGES or known.sum() == len(TARGETS) * len(VARIANTS):
            continue
        labelled, held_out = rs.resplit(name, k, n, seed)
        fit = rs.make_fit(labelled, seed)
        rows = []
        for target in TARGETS:
            bound = targets_of(name, k)[0][target]
            for variant in VARIANTS:
                found = tuned(fit, variant, max_error=bound, batch=held_out.sizes["query"])
                scored = bc.score(held_out, found.thresholds)
                error, cost = float(scored["error"]), float(scored["cost"])
                rows.append([name, k, n, seed, target, variant, int(found.feasible), error, bound, cost])
        done = pd.concat([done[~known], pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True)
        done.to_csv(REAL, index=False)


def simulated() -> None:
    """Logs of 500 queries, 300 labelled, from the model itself; the truth is another log of 100,000."""
    truth, rows = bc.simulate(100_000, random_seed=999), []
    for seed in range(N_SIMULATED):
        log = bc.simulate(500, n_labelled=300, random_seed=seed)
        fit = bc.fit(log, draws=400, random_seed=seed, progressbar=False, log_likelihood=False)
        for variant in VARIANTS:
            found = tuned(fit, variant, max_error=LIMIT)
            error = float(bc.score(truth, found.thresholds)["error"])
            cost = float(found.cost.mean())
            rows.append(["simulated", 3, 300, seed, 0, variant, int(found.feasible), error, LIMIT, cost])
        pd.DataFrame(rows, columns=COLUMNS).to_csv(SIMULATED, index=False)


def lines_of(table: pd.DataFrame, by: list[str]) -> list[str]:
    """Made, kept and cost by variant and something else."""
    out = []
    for key, part in table.groupby(by, sort=False):
        made = part[part["feasible"] == 1]
        kept = (made["error"] <= made["bound"] + 1e-12).mean()
        # cost beside doubt 0, where both make the promise
        place = ["log", "k", "n", "seed", "target"]
        base = table[(table["variant"] == "doubt 0") & (table["feasible"] == 1)].set_index(place)["cost"]
        ratio = made.set_index(place)["cost"] / base
        dear = np.exp(np.log(ratio.dropna()).mean())
        out.append(f"| {' | '.join(map(str, key))} | {len(made)} of {len(part)} | {kept:.0%} | {dear:.3f} |")
    return out


def page() -> str:
    table, sim = pd.read_csv(REAL), pd.read_csv(SIMULATED)
    seeds = sorted(table["seed"].unique())
    head = "| promises made | kept, of those made | cost / that of doubt 0 |"
    return "\n".join(
        [
            "# What `tune` promises, and keeps",
            "",
            "`.venv/bin/python docs/evidence/promises_tune.py`: P(error <= bound) >= 0.9 by `tune` itself, with what the labelled queries did counted in both directions "
            "(two-sided), or only where it raises the error, which is what `tune` does. The cost is a geometric mean over splits where both promises were made.",
            "",
            f"## Resplit real logs, {len(table) // len(VARIANTS)} promises of each kind, seeds {min(seeds)} to {max(seeds)}",
            "",
            "Splits as in {doc}`promises`: five logs, three and four stages, bounds at 35% and 55% of the range, for the batch of held-out queries.",
            "",
            "| variant | n " + head,
            "|---" * 5 + "|",
            *lines_of(table, ["variant", "n"]),
            "",
            "| variant | log " + head,
            "|---" * 5 + "|",
            *lines_of(table, ["variant", "log"]),
            "",
            f"## Logs from the model, {sim['seed'].nunique()} of them",
            "",
            f"500 queries, 300 labelled, three stages, error at most {LIMIT:g} in the long run; kept on 100,000 queries.",
            "",
            "| variant " + head,
            "|---" * 4 + "|",
            *lines_of(sim, ["variant"]),
            "",
            "Two-sided, the discrepancy makes matters worse where the model is right: a search finds the thresholds at which the labelled queries were lucky, and the "
            "discrepancy then believes that luck. One-sided it does not.",
            "",
        ]
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore", bc.CascadeWarning)
    if sys.argv[1:] == ["simulated"]:
        simulated()
    elif sys.argv[1:]:
        real(int(sys.argv[1]), int(sys.argv[2]))
    else:
        OUT.write_text(page(), encoding="utf-8")
