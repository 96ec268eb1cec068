"""What a fit keeps besides its draws, and how it is written to and read from disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.calibration import ENDS, Scaling
from bayescascade.design import Design
from bayescascade.errors import CascadeError
from bayescascade.files import whole_file
from bayescascade.margins import N_SPLITS, Margin

_SEGMENT = ("low", "high", "leaf", "count")
_SCALING = ("centre", "scale", "floor", "ceiling")


def constant_data(design: Design) -> xr.Dataset:
    """Margins and scalings as labelled arrays; stages with fewer segments are padded with NaN."""
    n = max(len(m.low) for m in design.margins)
    table: dict[str, tuple[Any, np.ndarray]] = {
        f"segment_{name}": (
            ("stage", "segment"),
            np.stack(
                [
                    np.pad(getattr(m, name).astype(float), (0, n - len(m.low)), constant_values=np.nan)
                    for m in design.margins
                ]
            ),
        )
        for name in _SEGMENT
    }
    table |= {
        f"signal_{name}": ("stage", np.array([getattr(s, name) for s in design.scalings])) for name in _SCALING
    }
    return xr.Dataset(
        {
            **table,
            "end_signal": (("stage", "end"), np.array([[s.bottom, s.top] for s in design.scalings])),
            "split_used": (
                ("stage", "split"),
                np.stack([m.split_used for m in design.margins]).astype(np.int8),
            ),
        },
        coords={"stage": design.stages, "end": list(ENDS), "split": np.arange(N_SPLITS)},
    )


def restore(constant: xr.Dataset) -> tuple[list[Margin], list[Scaling]]:
    """Undo `constant_data`."""
    margins, scalings = [], []
    for j in range(constant.sizes["stage"]):
        at = constant.isel(stage=j)
        keep = np.isfinite(at["segment_low"].values)
        low, high, leaf, count = (at[f"segment_{name}"].values[keep] for name in _SEGMENT)
        margins.append(Margin(low, high, leaf.astype(np.int64), count, at["split_used"].values.astype(bool)))
        numbers = [float(at[f"signal_{name}"]) for name in _SCALING]
        scalings.append(Scaling(*numbers, *(float(x) for x in at["end_signal"].values)))
    return margins, scalings


def data_hash(log: xr.Dataset) -> str:
    """SHA-256 over confidences, labels and costs, to recognise the log a fit came from."""
    digest = hashlib.sha256()
    for name in ("confidence", "correct", "cost"):
        digest.update(np.ascontiguousarray(log[name].transpose("query", "stage").values, dtype="<f8").tobytes())
    return digest.hexdigest()


def save_fit(fit: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a fit to netCDF, whole or not at all: it is written beside and renamed.

    Examples
    --------
    >>> import bayescascade as bc, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "fit.nc"
    >>> log = bc.load_example()
    >>> fit = bc.fit(log, random_seed=1, progressbar=False)
    >>> bc.save_fit(fit, path)
    >>> bool((bc.load_fit(path)["posterior"]["tau"] == fit["posterior"]["tau"]).all())
    True

    Raises
    ------
    CascadeError
        When the folder does not exist or cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise CascadeError(f"cannot write {path}: the folder {path.parent} does not exist; create it first.")
    with whole_file(path, "the fit") as part:
        fit.to_netcdf(part, engine="h5netcdf")


def load_fit(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a fit back, into memory.

    Examples
    --------
    >>> import bayescascade as bc
    >>> bc.load_fit("nowhere.nc")
    Traceback (most recent call last):
    ...
    bayescascade.errors.CascadeError: there is no file 'nowhere.nc'; give the path of a fit written by save_fit.

    Raises
    ------
    CascadeError
        For a missing, truncated or foreign file.
    """
    path = Path(path)
    if not path.is_file():
        raise CascadeError(f"there is no file {str(path)!r}; give the path of a fit written by save_fit.")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
    except Exception as error:
        raise CascadeError(
            f"{str(path)!r} cannot be read as netCDF ({type(error).__name__}): it is truncated or not a fit. "
            "Give a file written by save_fit or `bayescascade fit`."
        ) from error
    return check_fit(tree, str(path))


def check_fit(fit: xr.DataTree, source: str = "this DataTree") -> xr.DataTree:
    """Return ``fit`` if it has what this package needs of one, else raise `CascadeError`."""
    needed = ("posterior", "sample_stats", "observed_data", "constant_data")
    if not isinstance(fit, xr.DataTree):
        raise CascadeError(f"a fit is an xarray.DataTree as returned by fit(); {type(fit).__name__} came.")
    missing = [group for group in needed if group not in fit.children]
    if "bayescascade_fit" not in fit.attrs or missing:
        lacks = f"group {missing[0]!r}" if missing else "the attribute 'bayescascade_fit'"
        raise CascadeError(f"{source} is not a bayescascade fit: it lacks {lacks}. Make one with fit(log).")
    return fit
