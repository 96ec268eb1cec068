"""What a fit must hold: its groups and attributes, and how margins, scalings and families are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescascade.errors import CascadeError
from bayescascade.model.calibration import ATOMS, Scaling
from bayescascade.model.copulas.family import Family, get_family
from bayescascade.model.design import Design
from bayescascade.model.margins.models import MARGIN_MODELS
from bayescascade.model.margins.segments import Margin
from bayescascade.model.options import Options

_SEGMENT = ("low", "high", "leaf", "count")
_SCALING = ("centre", "scale", "floor", "ceiling")


def family_table(names: Sequence[str]) -> xr.Dataset:
    """What a fit keeps of its families, one name for each link: numbers over (link,), names in an attribute."""
    distinct = list(dict.fromkeys(names))
    which = np.array([distinct.index(name) for name in names], dtype=np.int8)
    return xr.Dataset({"family": ("link", which)}, attrs={"families": json.dumps(distinct)})


def read_families(fit: xr.DataTree) -> list[Family]:
    """Undo `family_table`: the family of each link."""
    table = fit["copula"].to_dataset()
    names = json.loads(table.attrs["families"])
    return [get_family(names[int(i)]) for i in table["family"].values]


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
    difficulty = bool(fit.attrs.get("difficulty", 0))
    return Options(names, str(fit.attrs["margin"]), str(fit.attrs["calibration"]), difficulty=difficulty)


def data_hash(log: xr.Dataset) -> str:
    """SHA-256 over confidences, labels and costs, to recognise the log a fit came from."""
    digest = hashlib.sha256()
    for name in ("confidence", "correct", "cost"):
        digest.update(np.ascontiguousarray(log[name].transpose("query", "stage").values, dtype="<f8").tobytes())
    return digest.hexdigest()


def check_fit(fit: xr.DataTree, source: str = "this DataTree") -> xr.DataTree:
    """Return ``fit`` if it has what this package needs of one, else raise `CascadeError`."""
    needed = ("posterior", "sample_stats", "observed_data", "constant_data", "margins", "copula")
    if not isinstance(fit, xr.DataTree):
        raise CascadeError(f"a fit is an xarray.DataTree as returned by fit(); {type(fit).__name__} came.")
    missing = [group for group in needed if group not in fit.children]
    if "bayescascade_fit" not in fit.attrs or missing:
        lacks = f"group {missing[0]!r}" if missing else "the attribute 'bayescascade_fit'"
        raise CascadeError(f"{source} is not a bayescascade fit: it lacks {lacks}. Make one with fit(log).")
    _refuse_former(fit, source)
    return fit


def _refuse_former(fit: xr.DataTree, source: str) -> None:
    """Raise `CascadeError` for a fit made with an option that there was once, and is no longer."""
    method, margin = fit.attrs.get("method", "nuts"), fit.attrs.get("margin", "polya_tree")
    if method != "nuts":
        raise CascadeError(
            f"{source} is a point estimate, made with method={method!r}, which there is no longer: fits are "
            "sampled. Fit its log again with fit(log)."
        )
    if margin not in MARGIN_MODELS:
        raise CascadeError(
            f"{source} was made with margin={margin!r}, which there is no longer; there are "
            f"{', '.join(map(repr, MARGIN_MODELS))}. Fit its log again with one of these."
        )
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
