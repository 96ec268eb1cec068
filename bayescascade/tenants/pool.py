"""The first pass of a pooled run: a joint fit of some tenants, whose population is the prior of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.logs.tasks import combine_tasks
from bayescascade.logs.validate import validate_log
from bayescascade.posterior.storage import load_fit, packed, write_packed
from bayescascade.tenants.sources import Tenant

_FILES = "pool=*.nc"  # no tenant's file has this name: in those, = is written as %3D
_DIGEST = "first_pass"


def file_of(folder: Path) -> Path | None:
    """The file of a folder's first pass; None where its fits are independent."""
    return next(iter(sorted(folder.glob(_FILES))), None)


def earlier(folder: Path, pool: int | None, asked: str) -> xr.DataTree | None:
    """The first pass that a folder has, if any.

    Raises
    ------
    CascadeError
        Where it is not the one that is ``asked`` for, by a digest of all that it hangs on: fits under its priors
        and under others would stand side by side.
    """
    if pool is not None and (not isinstance(pool, int | np.integer) or isinstance(pool, bool) or pool < 2):
        raise bad_value("pool", pool, "give the number of tenants of the first pass, at least 2, or leave it out")
    path = file_of(folder)
    if path is None:
        return None
    joint = load_fit(path)
    if pool != joint["posterior"].sizes["task"] or joint.attrs.get(_DIGEST) != asked:
        raise CascadeError(
            "the fits in {} have the priors of a first pass with {}, and they are not those asked for: {}, the "
            "seed or an option is another. Give those again, name another folder, or remove {}, and all tenants "
            "are fitted again.",
            (str(folder), option("pool", joint["posterior"].sizes["task"]), option("pool", pool), str(path)),
        )
    return joint


def first_pass(
    tenants: Sequence[Tenant],
    pool: int,
    folder: Path,
    asked: str,
    seed: int,
    fit: Callable[..., xr.DataTree],
    options: Mapping[str, Any],
) -> xr.DataTree:
    """Fit ``pool`` tenants together, and write the fit to the folder.

    They are drawn at random among those that can be fitted. Those with most labels would say more of the mean, but
    how much tenants differ is to be that of all, and tenants with many labels may be alike.
    """
    logs: dict[str, xr.Dataset] = {}
    refused: list[str] = []
    for i in np.random.default_rng([seed, 5]).permutation(len(tenants)):
        if len(logs) == pool:
            break
        try:
            logs[tenants[i].name] = validate_log(tenants[i].read())
        except CascadeError as error:
            refused.append(f"{tenants[i].name!r}: {error.message}")
    if len(logs) < pool:
        why = f" ({len(refused)} cannot be, first: {refused[0].rstrip('.')})" if refused else ""
        raise bad_value("pool", pool, "give fewer", f"tenants were asked for, but {len(logs)} can be fitted{why}")
    joint = fit(combine_tasks(logs), progressbar=False, random_seed=seed, **options)
    if not options.get("log_likelihood") and "log_likelihood" in joint.children:
        del joint["log_likelihood"]
    joint.attrs[_DIGEST] = asked
    write_packed(packed(joint), folder / _FILES.replace("*", str(pool)))
    return joint
