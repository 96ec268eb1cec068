"""How much memory work would take, said before it starts."""

from __future__ import annotations

import os
import warnings

from bayescascade.errors import CascadeError, CascadeWarning


def total_memory() -> float:
    """Bytes of memory of this machine; infinite where it does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # not on Windows
        return float("inf")


def check_memory(what: str, n_bytes: float, advice: str, stacklevel: int = 3) -> None:
    """Warn of work that takes more than half of the memory, and raise `CascadeError` where it takes more than all.

    Examples
    --------
    >>> check_memory("a grid", 1e6, "ask for less")
    >>> check_memory("a grid", 1e12, "ask for less")
    Traceback (most recent call last):
    ...
    bayescascade.errors.CascadeError: a grid needs about 1,000.0 GB of memory, and this machine has ...
    """
    total = total_memory()
    if n_bytes <= total / 2:
        return
    told = f"{what} needs about {n_bytes / 1e9:,.1f} GB of memory, and this machine has {total / 1e9:,.1f}"
    if n_bytes > total:
        raise CascadeError(f"{told}; {advice}.")
    warnings.warn(f"{told}. It may be slow; {advice}.", CascadeWarning, stacklevel=stacklevel)
