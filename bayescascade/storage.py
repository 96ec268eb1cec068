"""What a fit keeps besides its draws, and how it is written to and read from disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import xarray as xr

from bayescascade.calibration import ATOMS, Scaling
from bayescascade.design import Design
from bayescascade.errors import CascadeError
from bayescascade.files import whole_file
from bayescascade.links import read_families
from bayescascade.margins import Margin
from bayescascade.structure import Options

_SEGMENT = ("low", "high", "leaf", "count")
_SCALING = ("centre", "scale", "floor", "ceiling")


def constant_data(design: Design) -> xr.Dataset:
    """Margins and scalings as labelled arrays; stages with fewer segments are padded with NaN."""
    n = max(len(m.low) for m in design.margins)
    lead = design.lead
    shape = (*((len(design.tasks),) if design.tasks else ()), len(design.stages))
    margins, scalings = design.margins, design.scalings
    pad = [(0, n - len(m.low)) for m in margins]
    columns: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        f"segment_{name}": (
            ("segment",),
            np.stack(
                [
                    np.pad(getattr(m, name).astype(float), width, constant_values=np.nan)
                    for m, width in zip(margins, pad, strict=True)
                ]
            ),
        )
        for name in _SEGMENT
    }
    columns |= {f"signal_{name}": ((), np.array([getattr(s, name) for s in scalings])) for name in _SCALING}
    columns |= {
        "atom_signal": (("atom",), np.stack([s.atoms for s in scalings])),
        "knot": (("between",), np.stack([s.knots for s in scalings])),
        "split_used": (("split",), np.stack([m.split_used for m in margins]).astype(np.int8)),
    }
    coords: dict[str, object] = {"stage": design.stages, "atom": list(ATOMS)}
    if design.tasks:
        coords["task"] = design.tasks
    return xr.Dataset(
        {
            name: ((*lead, *dims), values.reshape((*shape, *values.shape[1:])))
            for name, (dims, values) in columns.items()
        },
        coords=coords,
    )


def restore(constant: xr.Dataset) -> tuple[list[Margin], list[Scaling]]:
    """Undo `constant_data`; where there are tasks, column by column."""
    lead = [dim for dim in ("task", "stage") if dim in constant.dims]
    stacked = constant.stack(column=lead) if len(lead) > 1 else constant.rename(stage="column")
    margins, scalings = [], []
    for j in range(stacked.sizes["column"]):
        at = stacked.isel(column=j)
        keep = np.isfinite(at["segment_low"].values)
        low, high, leaf, count = (at[f"segment_{name}"].values[keep] for name in _SEGMENT)
        margins.append(Margin(low, high, leaf.astype(np.int64), count, at["split_used"].values.astype(bool)))
        numbers = {name: float(at[f"signal_{name}"]) for name in _SCALING}
        scalings.append(Scaling(**numbers, atoms=at["atom_signal"].values, knots=at["knot"].values))
    return margins, scalings


def own_log(fit: xr.DataTree) -> xr.Dataset:
    """The log that a fit keeps of itself."""
    log = fit["observed_data"].to_dataset().transpose("query", "stage")
    return log.assign_attrs(confidence_kind=str(fit.attrs["confidence_kind"]))


def options_of(fit: xr.DataTree) -> Options:
    """The options that a fit was made with."""
    names = tuple(family.name for family in read_families(fit))
    return Options(names, str(fit.attrs["margin"]), str(fit.attrs["calibration"]))


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
        For a missing, truncated or foreign file, and for a fit by an earlier version with
        stacked families or costs that depend on the signal.
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
    needed = ("posterior", "sample_stats", "observed_data", "constant_data", "margins", "copula")
    if not isinstance(fit, xr.DataTree):
        raise CascadeError(f"a fit is an xarray.DataTree as returned by fit(); {type(fit).__name__} came.")
    missing = [group for group in needed if group not in fit.children]
    if "bayescascade_fit" not in fit.attrs or missing:
        lacks = f"group {missing[0]!r}" if missing else "the attribute 'bayescascade_fit'"
        raise CascadeError(f"{source} is not a bayescascade fit: it lacks {lacks}. Make one with fit(log).")
    if "draw" in fit["copula"].dims:
        raise CascadeError(
            f"{source} mixes draws of several copula families (copula='stack'), but a link has one family now. "
            "Fit its log again with copula='auto', or name a family for each link."
        )
    if "cost_slope" in fit["posterior"]:
        raise CascadeError(
            f"{source} has costs that depend on the signal (cost='signal'), but a stage has one mean cost now. "
            "Fit its log again."
        )
    return fit
