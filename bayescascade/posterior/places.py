"""Whether the groups of a fit speak of the same stages, draws and queries in the same order, of a known model."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.messages import listed, show
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.margins.tree import N_LEAVES

_NUMBERS = ("difficulty", "drift", "n_queries", "n_modelled", "random_seed")  # attributes
_NAMES = ("copula", "margin", "calibration")
_NAMED = ("task", "stage")  # dims whose places have names, each its own


def disagreement(fit: xr.DataTree, groups: Iterable[str]) -> str:
    """Where groups that share a dim have other places on it, or in another order; empty where they agree."""
    posterior, constant, copula = (fit[name].to_dataset() for name in ("posterior", "constant_data", "copula"))
    return _odd_place(fit, groups) or _odd_link(posterior) or _odd_families(copula) or _odd_segments(constant)


def odd_attribute(fit: xr.DataTree) -> str:
    """The first attribute that says of the model or of the log what cannot be; empty where there is none."""
    for name in _NUMBERS:
        value = np.asarray(fit.attrs.get(name, 0))
        if value.size != 1 or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
            return f"its {name} is {show(fit.attrs[name])}, where a number is wanted"
    for name in _NAMES:
        if not isinstance(fit.attrs.get(name), str):
            return f"its {name} is {show(fit.attrs.get(name))}, where a name is wanted"
    return ""


def _odd_place(fit: xr.DataTree, groups: Iterable[str]) -> str:
    """The first dim that is not the same in two groups, or whose names are none."""
    sizes: dict[Hashable, int] = {}
    named: dict[Hashable, tuple[str, Any]] = {}
    for group in (name for name in groups if name in fit.children):
        dataset = fit[group].to_dataset()
        for dim, size in dataset.sizes.items():
            if sizes.setdefault(dim, size) != size:
                return f"{dim!r} has {size} places in the group {group!r} and {sizes[dim]} in others"
            if not size:
                return f"{dim!r} has no places"
            if dim not in dataset.indexes:
                if dim in _NAMED:
                    return f"{dim!r} has no names in the group {group!r}"
                continue
            labels = dataset.indexes[dim]
            first, wanted = named.setdefault(dim, (group, labels))
            if not labels.equals(wanted):
                return f"{dim!r} is {listed(labels)} in the group {group!r}, and {listed(wanted)} in {first!r}"
            if dim in _NAMED and not (labels.is_unique and all(isinstance(label, str) for label in labels)):
                return f"{dim!r} is {listed(labels)}, where each needs a name of its own"
    return ""


def _odd_link(posterior: xr.Dataset) -> str:
    """Whether links are between other stages than neighbours, as where stages were put in another order."""
    stages = list(posterior.indexes["stage"])
    if posterior.sizes["link"] != len(stages) - 1:
        return f"there are {posterior.sizes['link']} links for {len(stages)} stages"
    links = [str(label) for label in posterior.indexes.get("link", ())]
    meant = [f"{first} > {second}" for first, second in pairwise(stages)]
    of_these = {name for link in links for name in link.split(" > ")} == set(stages)
    return (
        f"its links are {listed(links)}, where its stages are {listed(stages)}"
        if of_these and links != meant
        else ""
    )


def _odd_families(table: xr.Dataset) -> str:
    """Whether a link has a family that there is not."""
    try:
        names = json.loads(table.attrs["families"])
        found = [names[number] for number in table["family"].values if number >= 0]
        known = len(found) == table.sizes["link"] and all(name in FAMILIES for name in found)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        known = False
    return "" if known else f"the families of its links cannot be read from {show(table.attrs.get('families'))}"


def _odd_segments(constant: xr.Dataset) -> str:
    """Whether segments stand in another order than from low to high; what is beyond the last is blank."""
    segments = constant.transpose(..., "segment")
    low, high, count, leaf = (segments[f"segment_{n}"].values for n in ("low", "high", "count", "leaf"))
    there = np.isfinite(low)
    steps = low[..., 1:][there[..., 1:]] - high[..., :-1][there[..., 1:]]
    sound = (
        (there | np.isnan(low)).all(),
        (there[..., :-1] | ~there[..., 1:]).all(),
        there[..., 0].all(),
        all((np.isfinite(values) == there).all() for values in (high, count, leaf)),
        (low[there] <= high[there]).all(),
        (steps >= 0.0).all(),
        (leaf[there] < N_LEAVES).all(),
    )
    return "" if all(sound) else "the segments of its margins do not follow one another"
