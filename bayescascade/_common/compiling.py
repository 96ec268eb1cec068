"""Where PyTensor compiles: one thread at a time, in double precision, with a cache that can be written to."""

from __future__ import annotations

import atexit
import os
import pickle
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from bayescascade.errors import CascadeError, CascadeWarning

_LOCK = threading.RLock()


@contextmanager
def compiling() -> Iterator[None]:
    """Build and compile inside; PyTensor must not be imported before where its cache may not be writable.

    Compilers are no place for two threads: of fits started side by side some had wrong draws.
    """
    with _LOCK:
        _find_cache()
        import pytensor

        # a user's float32 would round the data, and kernels are compiled for doubles
        with pytensor.config.change_flags(floatX="float64"):
            try:
                yield
            except (EOFError, pickle.UnpicklingError) as error:
                raise CascadeError(
                    f"a compiled model in {pytensor.config.base_compiledir} cannot be read ({error}): it was cut "
                    "off while it was written. Empty that folder, with `pytensor-cache purge` or by hand, and try "
                    "again."
                ) from error


@cache
def _find_cache() -> None:
    """Let PyTensor keep what it compiles in a temporary folder where the home folder cannot be written to."""
    if "pytensor" in sys.modules or "compiledir" in os.environ.get("PYTENSOR_FLAGS", ""):
        return
    try:
        usual = Path.home() / ".pytensor"
    except RuntimeError:  # there is no home
        usual = Path(".pytensor")
    if _can_write(usual):
        return
    folder = tempfile.mkdtemp(prefix="bayescascade-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    flags = os.environ.get("PYTENSOR_FLAGS", "")
    os.environ["PYTENSOR_FLAGS"] = ",".join(filter(None, (flags, "=".join(("base_compiledir", folder)))))
    warnings.warn(
        f"{usual} cannot be written to, so what is compiled is kept in {folder} for this process only, and "
        "compiled again in the next; name a folder that lasts as base_compiledir in the variable PYTENSOR_FLAGS.",
        CascadeWarning,
        stacklevel=2,
    )


def _can_write(folder: Path) -> bool:
    """Whether a folder and those in it can be written to, or it can be made."""
    if os.path.isdir(folder):
        return all(
            os.access(place, os.W_OK | os.X_OK) for place in (folder, *filter(Path.is_dir, folder.iterdir()))
        )
    if os.path.lexists(folder):
        return False
    try:
        folder.mkdir(parents=True)
    except OSError:
        return False
    return True
