"""How often 90% intervals hold the truth, over logs simulated from random parameters.

Run from the project's root: ``python -m studies.interval_coverage.run``. Writes ``docs/evidence/interval_coverage.md``.
"""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import bayescascade as bc
from studies.common.command import parse

LEVEL = 0.9
SIZES = (40, 150, 600)


def one(rng: np.random.Generator, n: int) -> dict[str, bool]:
    """Simulate a log, fit it, and say which truths lie in their intervals."""
    truth: dict[str, Any] = {
        "tau": rng.uniform(0.1, 0.7, 2),
        "intercept": np.array([0.0, 0.8, 1.6]) + rng.normal(0, 0.5, 3),
        "slope": np.exp(rng.normal(0.0, 0.4, 3)),
        "top_atom": rng.choice([0.0, 0.2, 0.5], 3),
    }
    seeds = rng.integers(2**31, size=3)
    log = bc.simulate(n, **truth, random_seed=int(seeds[0]))
    many = bc.simulate(40_000, **truth, random_seed=int(seeds[1]))
    fit = bc.fit(log, draws=500, random_seed=int(seeds[2]), progressbar=False, log_likelihood=False)
    quantile = np.nanquantile(log["confidence"].values, [0.3, 0.5, 0.7], axis=0).T
    thresholds = np.append([rng.choice(q) for q in quantile[:2]], -np.inf)
    model, real = bc.evaluate(fit, thresholds), bc.score(many, thresholds)
    tau = fit["posterior"].to_dataset()["tau"]
    inside = {}
    for name, draws, value in (
        *((f"tau, link {j}", tau[..., j], truth["tau"][j]) for j in range(2)),
        ("error at thresholds", model["error"], real["error"]),
        ("cost at thresholds", model["cost"], real["cost"]),
        *((f"reach of stage {j}", model["reach"][..., j], real["reach"][j]) for j in (1, 2)),
    ):
        low, high = np.quantile(draws.values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        inside[name] = bool(low <= float(value) <= high)
    return inside


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("interval_coverage", __doc__, argv, replications=200)
    replications, sizes = (2, SIZES[:1]) if run.quick else (run.replications, SIZES)
    warnings.simplefilter("ignore", bc.CascadeWarning)
    lines = ["| quantity | " + " | ".join(f"n = {n}" for n in sizes) + " |", "|---" * (1 + len(sizes)) + "|"]
    table: dict[str, list[str]] = {}
    start = time.perf_counter()
    for n in sizes:
        rng = np.random.default_rng(n)
        results = [one(rng, n) for _ in range(replications)]
        for name in results[0]:
            table.setdefault(name, []).append(f"{np.mean([r[name] for r in results]):.1%}")
        print(
            n,
            {name: cells[-1] for name, cells in table.items()},
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in table.items()]
    error = 1.96 * np.sqrt(LEVEL * (1 - LEVEL) / replications)
    run.write(
        f"""# Coverage of 90% intervals

{replications} simulated logs of three stages for each number of queries n, with parameters drawn anew each time
(tau uniform on 0.1 to 0.7; intercepts, slopes, and 0%, 20% or 50% of confidences at exactly 1), fitted with the default
options and 4 x 500 draws. Thresholds at random quantiles of the log. The truth comes from 40,000 queries of the same
parameters. A share between {LEVEL - error:.1%} and {LEVEL + error:.1%} is what {replications} replications of exact
intervals give 95% of the time.

{chr(10).join(lines)}

Made by `python -m studies.interval_coverage.run`.
"""
    )


if __name__ == "__main__":
    main()
