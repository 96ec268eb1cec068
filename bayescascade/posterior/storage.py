"""What a fit keeps besides its draws, and how it is written to and read from disk."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from bayescascade._common.files import whole_file
from bayescascade.errors import CascadeError
from bayescascade.posterior.schema import require


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
        For a missing, truncated or foreign file, or a fit of a kind that is no longer made.
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
    return require(tree, source=str(path), tasks="any")
