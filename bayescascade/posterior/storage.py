"""What a fit keeps besides its draws, and how it is written to and read from disk."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from bayescascade._common.files import check_path, whole_file
from bayescascade.errors import CascadeError, call, in_python
from bayescascade.posterior.schema import require
from bayescascade.posterior.sound import check_sound

_SEAL = b"\nbayescascade sha256 "
_PACKED = 1000  # times that a file may hold its own size, packed


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
    check_path(path, "the fit")
    path = Path(path)
    if not os.path.isdir(path.parent):
        raise CascadeError(f"cannot write {path}: the folder {path.parent} does not exist; create it first.")
    write_packed(packed(fit), path)


def packed(fit: xr.DataTree) -> bytes:
    """What `save_fit` writes; in memory first, as HDF5 on a full disk ends the process, and the draws with it."""
    with _apart_from_dask():
        content = bytes(fit.to_netcdf(engine="h5netcdf"))
    return content + _seal(hashlib.sha256(content))


@contextmanager
def _apart_from_dask() -> Iterator[None]:
    """Write in this process alone: where it has a Dask client, xarray asks that for a lock on what has no name."""
    if "dask" not in sys.modules:
        yield
        return
    import dask

    with dask.config.set(scheduler="synchronous"):
        yield


def write_packed(content: bytes, path: str | os.PathLike[str]) -> None:
    """Write what `packed` made of a fit, whole or not at all."""
    with whole_file(path, "the fit") as part, open(part, "wb") as stream:
        stream.write(content)


def _seal(digest: Any) -> bytes:
    """What follows the netCDF in a file: its checksum; HDF5 does not look beyond its own end."""
    return _SEAL + digest.hexdigest().encode()


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
        For a missing, truncated, changed or foreign file, or a fit of a kind that is no longer made.
    """
    check_path(path, "the fit")
    path = Path(path)
    if not os.path.isfile(path):  # of a name too long, Path's own raises
        raise CascadeError(
            f"there is no file {str(path)!r}; give the path of a fit written by " + call("save_fit") + "."
        )
    _check_seal(path)
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            claimed = sum(variable.nbytes for node in opened.subtree for variable in node.variables.values())
            if claimed <= _PACKED * path.stat().st_size:
                tree = opened.load()
    except Exception as error:
        raise CascadeError(
            f"{str(path)!r} cannot be read as netCDF ({type(error).__name__}): it is truncated or not a fit. "
            "Give a file written by " + in_python("save_fit or ") + "`bayescascade fit`."
        ) from error
    if claimed > _PACKED * path.stat().st_size:
        raise CascadeError(
            f"{str(path)!r} says that it holds {claimed:.1e} bytes, more than a file of its size can, so it is "
            "not read: it is damaged or not a fit. Give a file written by "
            + in_python("save_fit or ")
            + "`bayescascade fit`."
        )
    require(tree, source=str(path), tasks="any")
    check_sound(tree, str(path))
    return tree


def _like_a_seal(end: bytes) -> bool:
    """Whether a file's last bytes are the start of a seal, all but some."""
    alike = [a == b for a, b in zip(end, _SEAL, strict=False)]
    return len(alike) >= 4 and sum(alike) > 0.7 * len(alike)


def _check_seal(path: Path) -> None:
    """Raise `CascadeError` for a file that was written by `save_fit` and has changed since.

    Any other netCDF has no seal, and is judged by what it holds. Of what is left of a seal, most is recognised.
    """
    size = path.stat().st_size - len(_seal(hashlib.sha256()))
    with open(path, "rb") as stream:
        stream.seek(max(size, 0))
        seal = stream.read()
        if not any(_like_a_seal(seal[start:]) for start in range(len(seal))):
            return
        stream.seek(0)
        digest = hashlib.sha256()
        while size > 0 and (block := stream.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    if seal != _seal(digest):
        raise CascadeError(
            f"{str(path)!r} is a damaged fit: its checksum is not that of what it holds, so it changed after it "
            "was written. Take a copy that is whole, or fit its log again with " + call("fit", "log") + "."
        )
