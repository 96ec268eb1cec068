"""Whether the groups of a fit speak of the same stages, draws and queries, in the same order."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import Any

import xarray as xr

from bayescascade._common.messages import listed, show
from bayescascade.model.copulas.family import FAMILIES

_NAMED = ("task", "stage")  # dims whose places have names, each its own


def disagreement(fit: xr.DataTree, groups: Iterable[str]) -> str:
    """Where groups that share a dim have other places on it, or in another order; empty where they agree."""
    return (
        _odd_place(fit, groups)
        or _odd_link(fit["posterior"].to_dataset())
        or _odd_families(fit["copula"].to_dataset())
    )


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
