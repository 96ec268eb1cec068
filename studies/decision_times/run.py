"""Times and memory of decisions, by stages and by draws.

Run from the project's root, on an idle machine: ``python -m studies.decision_times.run``. Writes
``docs/evidence/decision_times.md``. Fits are of simulated logs of 300 queries, so the real logs are not needed.
"""

import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.induction.backward_induction import induce
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.kernel import mean_kernel
from studies.common.command import parse

STAGES, DRAWS = (2, 5, 8, 12), (1_000, 4_000, 16_000)


def best_of(work: Callable[[], object], n: int = 3) -> float:
    """Least seconds of some runs."""
    took = []
    for _ in range(n):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


def peak_of(work: Callable[[], object]) -> float:
    """Most memory beyond what was there, in MB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def make_fit(n_stages: int) -> xr.DataTree:
    log = bc.simulate(300, n_stages=n_stages, random_seed=1)
    return bc.fit(log, random_seed=1, progressbar=False, log_likelihood=False)


def repeated(fit: xr.DataTree, n: int) -> xr.DataTree:
    """The fit with its draws taken over again, up to n of them."""
    out = fit.copy()
    per_chain = n // fit["posterior"].sizes["chain"]
    for group in ("posterior", "margins", "sample_stats"):
        part = fit[group].to_dataset()
        index = np.arange(per_chain) % part.sizes["draw"]
        out[group] = xr.DataTree(part.isel(draw=index).assign_coords(draw=np.arange(per_chain)))
    return out


def works(fit: xr.DataTree) -> dict[str, Callable[[], object]]:
    """What is timed."""
    middle = bc.frontier(fit, n_points=20)
    bound = float(middle["error"][12])
    kernel = mean_kernel(get_draws(fit).thin(512))
    prices = np.geomspace(1e-3, 1.0, 50)
    return {
        "induction, 50 prices (ms)": lambda: induce(kernel, prices),
        "frontier with bands, 50 points (s)": lambda: bc.frontier(fit, n_points=50, batch=1000),
        "tune, max_error, doubt 0 (s)": lambda: bc.tune(fit, max_error=bound, doubt=0.0),
        "tune, max_error (s)": lambda: bc.tune(fit, max_error=bound * 1.1),
        "tune, error_price (s)": lambda: bc.tune(fit, error_price=0.01),
    }


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("decision_times", __doc__, argv)
    warnings.simplefilter("ignore", bc.CascadeWarning)
    fits = {k: make_fit(k) for k in ((5,) if run.quick else STAGES)}
    lines = [
        "# Times and memory of decisions",
        "",
        "`python -m studies.decision_times.run`: simulated logs of 300 queries, 4 x 1000 draws where nothing else is said, best of three, on two cores.",
        "",
        *by_stages(fits),
        "",
        *by_draws(fits[5], DRAWS[:1] if run.quick else DRAWS),
        "",
    ]
    run.write("\n".join(lines))


def by_stages(fits: dict[int, xr.DataTree]) -> list[str]:
    """Seconds of everything that is timed."""
    names = list(works(fits[min(fits)]))
    lines = ["## By stages", "", "| stages | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for k, fit in fits.items():
        took = {name: best_of(work) for name, work in works(fit).items()}
        cells = [f"{t * 1e3:.1f}" if "ms" in name else f"{t:.2f}" for name, t in took.items()]
        lines.append(f"| {k} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def by_draws(five: xr.DataTree, numbers: Sequence[int]) -> list[str]:
    """Seconds and memory of frontiers and values of a fit of five stages."""
    lines = [
        "## By draws, five stages",
        "",
        "| draws | frontier (s) | frontier, peak MB | evaluate, 50 points (s) | evaluate, peak MB | the result itself, MB |",
    ]
    lines.append("|---" * 6 + "|")
    for n in numbers:
        fit = repeated(five, n)
        thresholds = bc.frontier(fit, n_points=50)["threshold"]

        def curve(fit: xr.DataTree = fit) -> object:
            return bc.frontier(fit, n_points=50)

        def values(fit: xr.DataTree = fit, thresholds: xr.DataArray = thresholds) -> xr.Dataset:
            return bc.evaluate(fit, thresholds)

        size = values().nbytes / 1e6
        cells = [
            f"{best_of(curve):.2f}",
            f"{peak_of(curve):.0f}",
            f"{best_of(values):.2f}",
            f"{peak_of(values):.0f}",
            f"{size:.0f}",
        ]
        lines.append(f"| {n:,} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    main()
