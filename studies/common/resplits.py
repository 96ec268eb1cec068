"""Resplits of the real logs and their fits, for ``docs/evidence/promises.md`` and ``docs/evidence/bands.md``.

``python -m studies.common.resplits`` makes the fits, seed by seed, and their frontiers into ``build/promises``;
what is there already is left. Needs the logs in ``../shared/data``.

Train and test of a log are pooled and shuffled by a seed. The first n rows of the shuffle are the labelled
queries, for n = 50, 100, 200, and all rows after the first 200 are held out, so every n is judged on the same
held-out rows, which are exchangeable with the labelled ones: no shift is in play. One cascade for each number of
stages was chosen beforehand.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade._common.files import whole_file
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.positions import to_positions, to_thresholds, with_last
from bayescascade.induction.price_sweep import sweep
from bayescascade.posterior.draws import get_draws
from studies.common import logs
from studies.common.command import BUILD, parse

KEEP = BUILD / "promises"
FITS = KEEP / "fits"
# their order seeds the shuffles
LOGS = ("mmlu.llama", "mmlu.qwen_oai", "triviaqa.llama", "triviaqa.qwen_oai", "medmcqa.llama")
CASCADES = {2: [0, 3], 3: [0, 2, 3], 4: [0, 1, 2, 3]}
SIZES = (50, 100, 200)
SEEDS = range(20)
N_POINTS = 60
Split = tuple[str, int, int, int]  # log, number of stages, labelled queries, seed


def pooled(name: str, k: int) -> xr.Dataset:
    """Train and test of a log as one, with the stages of its cascade of ``k`` stages."""
    return logs.pooled(name, tuple(CASCADES[k]))


def resplit(name: str, k: int, n: int, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Labelled and held-out queries."""
    log = pooled(name, k)
    order = np.random.default_rng([LOGS.index(name), seed]).permutation(log.sizes["query"])
    return log.isel(query=np.sort(order[:n])), log.isel(query=np.sort(order[max(SIZES) :]))


def make_fit(log: xr.Dataset, seed: int, **options: Any) -> xr.DataTree:
    """A fit as all of these splits are given one: 2 x 250 draws."""
    kept: dict[str, Any] = {"draws": 250, "tune": 200, "chains": 2, "cores": 1}
    return bc.fit(log, random_seed=seed, log_likelihood=False, progressbar=False, **kept, **options)


def fit_of(name: str, k: int, n: int, seed: int) -> xr.DataTree:
    """The default fit of one split's labelled queries, made once."""
    path = FITS / f"{name}.{k}.{n}.{seed}.nc"
    if not path.is_file():
        FITS.mkdir(parents=True, exist_ok=True)
        bc.save_fit(make_fit(resplit(name, k, n, seed)[0], seed), path)
    return bc.load_fit(path)


def cells(seeds: range = SEEDS) -> Iterator[Split]:
    """Log, number of stages, n and seed of every split, all splits of a seed before the next seed."""
    return ((name, k, n, seed) for seed in seeds for n in SIZES for k in CASCADES for name in LOGS)


def curve(fit: xr.DataTree, held_out: xr.Dataset) -> dict[str, np.ndarray]:
    """The frontier of a fit: error and cost (draw, point) that the model expects, and those held out (point,)."""
    draws = get_draws(fit).thin(250)
    positions, _ = sweep(draws, N_POINTS)
    thresholds = with_last(to_thresholds(positions, draws))
    # a position inside an atom becomes its lower end, which is what a threshold can do
    error, cost, reach, *_ = forward_all(draws, to_positions(thresholds, draws))
    found = bc.score(held_out, thresholds)
    return {
        "thresholds": thresholds,
        "error": error.astype(np.float32),
        "cost": cost.astype(np.float32),
        "reach": reach.mean(axis=0),
        "held_error": found["error"].values,
        "held_cost": found["cost"].values,
        "held_reach": found["reach"].values,
    }


def load_curve(name: str, k: int, n: int, seed: int) -> dict[str, np.ndarray]:
    """The frontier of one split's fit, made once."""
    path = KEEP / "curves" / f"{name}.{k}.{n}.{seed}.npz"
    if not path.is_file():
        made = curve(fit_of(name, k, n, seed), resplit(name, k, n, seed)[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, "the frontier") as part:
            np.savez(part, allow_pickle=False, **made)
    with np.load(path) as kept:
        return dict(kept)


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("common", __doc__, argv, module="resplits", seeds=SEEDS)
    logs.require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    start = time.perf_counter()
    for seed in run.seeds[:1] if run.quick else run.seeds:
        here = list(cells(range(seed, seed + 1)))
        for cell in here[:1] if run.quick else here:
            load_curve(*cell)
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
