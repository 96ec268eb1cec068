"""Resplits of the real logs and their fits, shared by `promises.py` and `bands.py`.

``.venv/bin/python docs/evidence/resplits.py [first seed] [last seed] [calibrations]`` (0, 19, logistic) makes the fits, seed by seed, and their
frontiers into ``build/promises``; what is there already is left. Needs the logs in ``../shared/data``.

Train and test of a log are pooled and shuffled by a seed. The first n rows of the shuffle are the labelled queries, for
n = 50, 100, 200, and all rows after the first 200 are held out, so every n is judged on the same held-out rows, which
are exchangeable with the labelled ones: no shift is in play. One cascade for each number of stages was chosen beforehand.
"""

import sys
import time
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.cascade import forward_all
from bayescascade.draws import get_draws
from bayescascade.frontiers import sweep
from bayescascade.positions import to_positions, to_thresholds, with_last

DATA = Path(__file__).parents[3] / "shared" / "data"
KEEP = Path(__file__).parents[2] / "build" / "promises"
FITS = KEEP / "fits"
LOGS = {
    "mmlu.llama": "logprob",
    "mmlu.qwen_oai": "logprob",
    "triviaqa.llama": "p_true",
    "triviaqa.qwen_oai": "p_true",
    "medmcqa.llama": "logprob",
}
CASCADES = {2: [0, 3], 3: [0, 2, 3], 4: [0, 1, 2, 3]}
SIZES = (50, 100, 200)
SEEDS = range(20)
N_POINTS = 60
CALIBRATIONS = ("logistic", "sequential")


@lru_cache
def pooled(name: str, k: int) -> xr.Dataset:
    """Train and test of a log as one, with the stages of its cascade of ``k`` stages."""
    parts = [
        bc.read_log(
            DATA / f"{name}.{split}.parquet", confidence_kind=LOGS[name], cost="answer_cost", stages=CASCADES[k]
        )
        for split in ("train", "test")
    ]
    log = xr.concat(parts, "query")
    return log.assign_coords(query=np.arange(log.sizes["query"])).assign_attrs(parts[0].attrs)


def resplit(name: str, k: int, n: int, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Labelled and held-out queries."""
    log = pooled(name, k)
    order = np.random.default_rng([list(LOGS).index(name), seed]).permutation(log.sizes["query"])
    return log.isel(query=np.sort(order[:n])), log.isel(query=np.sort(order[max(SIZES) :]))


def make_fit(log: xr.Dataset, seed: int, **options: str) -> xr.DataTree:
    """A fit as all of these splits are given one: 2 x 250 draws."""
    kept = {"draws": 250, "tune": 200, "chains": 2, "cores": 1, "log_likelihood": False, "progressbar": False}
    return bc.fit(log, random_seed=seed, **kept, **options)


def fit_of(name: str, k: int, n: int, seed: int) -> xr.DataTree:
    """The default fit of one split's labelled queries, made once."""
    path = FITS / f"{name}.{k}.{n}.{seed}.nc"
    if not path.is_file():
        FITS.mkdir(parents=True, exist_ok=True)
        bc.save_fit(make_fit(resplit(name, k, n, seed)[0], seed), path)
    return bc.load_fit(path)


def cells(seeds: range = SEEDS) -> Iterator[tuple[str, int, int, int]]:
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


def path_of(calibration: str, name: str, k: int, n: int, seed: int) -> Path:
    return KEEP / calibration / f"{name}.{k}.{n}.{seed}.npz"


def has_curve(calibration: str, *cell: str | int) -> bool:
    """Whether a split's frontier has been made."""
    return path_of(calibration, *cell).is_file()


def load_curve(calibration: str, name: str, k: int, n: int, seed: int) -> dict[str, np.ndarray]:
    """The frontier of one split's fit, made once."""
    path = path_of(calibration, name, k, n, seed)
    if not path.is_file():
        labelled, held_out = resplit(name, k, n, seed)
        default = calibration == CALIBRATIONS[0]
        fit = fit_of(name, k, n, seed) if default else make_fit(labelled, seed, calibration=calibration)
        made = curve(fit, held_out)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **made)
        part.replace(path)
    with np.load(path) as kept:
        return dict(kept)


def main(first: str = "0", last: str = "19", *calibrations: str) -> None:
    if not DATA.is_dir():
        sys.exit(f"the real logs are not at {DATA}; this script needs them")
    warnings.simplefilter("ignore", bc.CascadeWarning)
    start = time.perf_counter()
    for seed in range(int(first), int(last) + 1):
        for calibration in calibrations or CALIBRATIONS[:1]:
            for cell in cells(range(seed, seed + 1)):
                load_curve(calibration, *cell)
            print(f"seed {seed}, {calibration}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
