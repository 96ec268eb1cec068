"""Fits that tests share: sampled once, kept in build/test-fits, and read by every worker and by the doctests."""

import hashlib
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import xarray as xr
from filelock import FileLock

import bayescascade
from bayescascade.inference.fit import fit
from bayescascade.posterior.schema import data_hash
from bayescascade.posterior.storage import load_fit, save_fit

FOLDER = Path(__file__).parents[2] / "build" / "test-fits"
# what a fit comes from: the rooms up to inference, and the packages that sample
ROOMS = ("_common", "signals", "logs", "model", "posterior", "inference")
SAMPLERS = ("numba", "numpy", "nutpie", "pymc", "pytensor")


def stored_fit(log: xr.Dataset, **options: object) -> xr.DataTree:
    """What `bayescascade.fit` returns, sampled only if there is none of this log, these options and sources yet.

    It always comes from disk, so that it is the same for whoever sampled it and for whoever came later. A fit
    without a seed, and an update, are nobody else's and are not kept.
    """
    if options.get("random_seed") is None or options.get("previous") is not None:
        return fit(log, **options)
    asked = digest(repr((log.to_dict(), sorted(options.items()))))
    path = FOLDER / f"{data_hash(log)[:12]}-{asked}-{sources()}.nc"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # others that want it wait until it is there
        if not path.exists():
            save_fit(fit(log, **options), path)
        return load_fit(path)


@cache
def sources() -> str:
    """Digest of all source files and packages that a fit depends on."""
    home = Path(bayescascade.__file__).parent
    files = [home / "errors.py", *(path for room in ROOMS for path in sorted((home / room).rglob("*.py")))]
    return digest(*(path.read_text(encoding="utf-8") for path in files), *map(version, SAMPLERS))


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def with_stages(tree: xr.DataTree, names: list[str]) -> xr.DataTree:
    """A copy of a fit whose stages are called otherwise."""
    out = tree.copy(deep=True)
    for group in ("posterior", "margins", "observed_data", "constant_data"):
        out[group] = out[group].to_dataset().assign_coords(stage=names)
    links = [f"{a} > {b}" for a, b in pairwise(names)]
    out["posterior"] = out["posterior"].to_dataset().assign_coords(link=links)
    return out
