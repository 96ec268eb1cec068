"""What a fit must hold: its groups and attributes, and how margins, scalings and families are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from bayescascade._common.messages import listed
from bayescascade.errors import TO_FILL_IN, CascadeError, call, in_python, option, said
from bayescascade.logs.tables import KIND, SIGNAL
from bayescascade.logs.validate import validate_log
from bayescascade.model.calibration import ATOMS, CALIBRATIONS, Scaling
from bayescascade.model.copulas.family import Family, get_family
from bayescascade.model.design import Design
from bayescascade.model.margins.models import MARGIN_MODELS
from bayescascade.model.margins.segments import Margin
from bayescascade.model.options import Options
from bayescascade.model.population import COVARIANCE, LATENT, MEAN, PARAMETERS
from bayescascade.posterior.places import disagreement, odd_attribute

_SEGMENT = ("low", "high", "leaf", "count")
OWN_LOG = "the fit's own log"
_SCALING = ("centre", "scale", "floor", "ceiling")


class Variable(NamedTuple):
    """What is known of a variable of a stored fit.

    ``dims`` in any order; ``task`` is among them only where the fit is of several. ``dtype`` is what the values
    can be taken for without loss, and they are of its kind: whole numbers are none where others are wanted. An
    ``optional`` variable depends on the model's options or on the log; a ``finite`` one has neither NaN nor
    infinite values.
    """

    dims: tuple[str, ...]
    dtype: str = "float64"
    optional: bool = False
    finite: bool = False


_LEAD = ("task", "stage")
_DRAW = ("chain", "draw", "task")
_PER_STAGE = (*_DRAW, "stage")

# Group by group, what the rest of the package reads of a fit; the model's further variables go along unread.
GROUPS: dict[str, dict[str, Variable]] = {
    "posterior": {
        "tau": Variable((*_DRAW, "link"), finite=True),
        "intercept": Variable(_PER_STAGE, finite=True),
        "slope": Variable(_PER_STAGE, finite=True),
        "atom_offset": Variable((*_PER_STAGE, "atom"), finite=True),
        "margin_split": Variable((*_PER_STAGE, "split"), finite=True),
        "cost": Variable(_PER_STAGE, finite=True),
        "bend": Variable((*_PER_STAGE, "piece"), optional=True, finite=True),
        "latency": Variable(_PER_STAGE, optional=True),  # NaN for a stage without a known one
    },
    "sample_stats": {"diverging": Variable(("chain", "draw"), "bool")},
    "observed_data": {
        **{name: Variable(("query", "stage")) for name in ("confidence", "correct", "cost")},
        "latency": Variable(("query", "stage"), optional=True),
    },
    "constant_data": {
        **{f"segment_{name}": Variable((*_LEAD, "segment")) for name in _SEGMENT},  # NaN is padding
        **{f"signal_{name}": Variable(_LEAD, finite=True) for name in _SCALING},
        "atom_signal": Variable((*_LEAD, "atom")),  # NaN for an atom that does not occur
        "knot": Variable((*_LEAD, "between"), finite=True),
        "split_used": Variable((*_LEAD, "split"), "int8"),
        "cost_sd": Variable(_LEAD, optional=True, finite=True),
        "latency_sd": Variable(_LEAD, optional=True),
    },
    "margins": {"segment_mass": Variable((*_PER_STAGE, "segment"), finite=True)},
    "copula": {"family": Variable(("link",), "int64")},
}
# A fit may be without them. Of these, the population alone is read: what it was fitted under are its priors.
OPTIONAL_GROUPS: dict[str, dict[str, Variable]] = {
    "posterior_predictive": {
        "confidence": Variable(("chain", "draw", "query", "stage"), finite=False),
        "correct": Variable(("chain", "draw", "query", "stage"), "int64", finite=True),
    },
    "predictions": {name: Variable(_PER_STAGE, finite=True) for name in ("error", "cost")},
    "population": {
        **{
            name: Variable(("moment", *dims), optional=name in LATENT, finite=True)
            for name, dims in PARAMETERS.items()
        },
        MEAN: Variable(("stage",), finite=True),
        COVARIANCE: Variable(("stage", "other"), finite=True),
    },
    "update": {name: Variable((*_LEAD, "part")) for name in ("n", "observed", "expected", "z", "p")},
    "prior": {name: known._replace(optional=True) for name, known in GROUPS["posterior"].items()},
}
# Groups whose dims have the same places: those that are read. What ArviZ alone reads has draws of its own.
_SHARING = (*GROUPS, "log_likelihood", "population", "update")


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
    lead = design.column_dims
    shape = (*((len(design.tasks),) if design.tasks else ()), len(design.stages))
    margins, scalings = design.margins, design.scalings

    def padded(name: str) -> np.ndarray:
        values = [getattr(m, name).astype(float) for m in margins]
        return np.stack([np.pad(v, (0, n - len(v)), constant_values=np.nan) for v in values])

    columns: dict[str, tuple[tuple[str, ...], np.ndarray]]
    columns = {f"segment_{name}": (("segment",), padded(name)) for name in _SEGMENT}
    columns |= {f"signal_{name}": ((), np.array([getattr(s, name) for s in scalings])) for name in _SCALING}
    columns |= {
        "atom_signal": (("atom",), np.stack([s.atoms for s in scalings])),
        "knot": (("between",), np.stack([s.knots for s in scalings])),
        "split_used": (("split",), np.stack([m.split_used for m in margins]).astype(np.int8)),
    }
    coords: dict[str, object] = {"stage": design.stages, "atom": list(ATOMS)}
    if design.tasks:
        coords["task"] = design.tasks
    data = {k: ((*lead, *dims), v.reshape((*shape, *v.shape[1:]))) for k, (dims, v) in columns.items()}
    return xr.Dataset(data, coords=coords)


def margins_and_scalings(constant: xr.Dataset) -> tuple[list[Margin], list[Scaling]]:
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


def observed_log(fit: xr.DataTree) -> xr.Dataset:
    """The log that a fit keeps of itself."""
    log = fit["observed_data"].to_dataset().transpose("query", "stage")
    return log.assign_attrs({name: str(fit.attrs[name]) for name in (KIND, SIGNAL) if name in fit.attrs})


def options_of(fit: xr.DataTree) -> Options:
    """The options that a fit was made with."""
    names = tuple(family.name for family in read_families(fit))
    difficulty = bool(fit.attrs.get("difficulty", 0))
    population = fit["population"].to_dataset() if "population" in fit.children else None
    margin, calibration = str(fit.attrs["margin"]), str(fit.attrs["calibration"])
    return Options(names, margin, calibration, difficulty=difficulty, population=population)


def data_hash(log: xr.Dataset) -> str:
    """SHA-256 over confidences, labels and costs, to recognise the log a fit came from."""
    digest = hashlib.sha256()
    for name in ("confidence", "correct", "cost"):
        digest.update(np.ascontiguousarray(log[name].transpose("query", "stage").values, dtype="<f8").tobytes())
    return digest.hexdigest()


def which_log(fit: xr.DataTree, log: xr.Dataset) -> str:
    """Whether a log is a fit's own, in words; `CascadeError` for one that is not of the same cascade."""
    log = validate_log(log, labels=False)
    stages, own = ([str(name) for name in of.coords["stage"].values] for of in (log, fit["posterior"]))
    if set(stages) != set(own):
        raise CascadeError(f"the log has the stages {listed(stages)}, but the fit has {listed(own)}.")
    kinds = log.attrs["confidence_kind"], fit.attrs["confidence_kind"]
    if kinds[0] != kinds[1]:
        raise CascadeError(f"the log's confidences are of kind {kinds[0]!r}, but the fit's are {kinds[1]!r}.")
    return OWN_LOG if data_hash(log) == fit.attrs.get("data_hash") else "another log"


def require(
    fit: Any,
    *,
    source: str = "this DataTree",
    tasks: Literal["one", "several", "any"] = "one",
    apart: str = "",
    undrifted: str = "",
    unchanged: str = "",
) -> xr.DataTree:
    """Return ``fit`` if it is one and is what the caller needs, else raise `CascadeError`: the door's only check.

    Parameters
    ----------
    fit : xarray.DataTree
        With the groups and variables of `GROUPS`, and finite draws.
    source : str
        What the sentences call it, such as the path that it came from.
    tasks : str
        Whether it is to be the fit of one task, of ``"several"``, or of ``"any"`` number of them.
    apart, undrifted, unchanged : str
        Refuse the fit of one task taken out of several; one that has drifted; one that was changed in any way
        after sampling. Each ends the sentence: why, and what to do. Empty: it may be so.

    Examples
    --------
    >>> require(xr.Dataset())
    Traceback (most recent call last):
    ...
    bayescascade.errors.CascadeError: a fit is an xarray.DataTree as returned by fit(); Dataset came.
    """
    if not isinstance(fit, xr.DataTree):
        raise CascadeError(f"a fit is an xarray.DataTree as returned by fit(); {type(fit).__name__} came.")
    missing = [group for group in GROUPS if group not in fit.children]
    lazy = [name for name, node in fit.children.items() if node.to_dataset().chunks]
    if lazy:
        raise CascadeError(
            f"the group {lazy[0]!r} of {source} is not in memory, but in chunks of Dask's; load it first"
            + in_python(", with fit.load()")
            + "."
        )
    if "bayescascade_fit" not in fit.attrs or missing:
        lacks = f"group {missing[0]!r}" if missing else "the attribute 'bayescascade_fit'"
        raise CascadeError(
            f"{source} is not a bayescascade fit: it lacks {lacks}. Make one with " + call("fit", "log") + "."
        )
    _refuse_damaged(odd_attribute(fit), source)
    _refuse_former(fit, source)
    _check_variables(fit, source)
    _refuse_damaged(disagreement(fit, _SHARING), source)
    _check_tasks(fit, tasks, apart)
    for name in ("repriced", "drift"):
        if unchanged and name in fit.attrs:
            raise CascadeError(f"this fit was changed after sampling ({name}: {fit.attrs[name]}); {unchanged}")
    if undrifted and "drift" in fit.attrs:
        raise CascadeError(f"this fit has drifted by {fit.attrs['drift']:g}{undrifted}")
    return fit


def why_not_computed(
    fit: xr.DataTree,
    what: str,
    *,
    own_prior: bool = False,
    log_likelihood: bool = False,
    several_chains: bool = False,
    draws: int = 0,
) -> str:
    """Why ``what`` cannot be computed from a fit that may be used otherwise; empty where it can.

    It may need a prior that no other tasks inform, a log-likelihood of each query, several chains, or a least
    number of ``draws`` of all chains together.
    """
    sizes = fit["posterior"].sizes
    if own_prior and "task" in fit.attrs:
        return f"What one task's prior is, the other tasks say; {what} is computed for fits of one task only."
    if log_likelihood and "log_likelihood" not in fit.children:
        return said(
            "The fit holds no log-likelihood, so {} was not computed. Fit again{} to have it.",
            (what, in_python(" with log_likelihood=True", " with fewer draws")),
        )
    if several_chains and sizes["chain"] < 2:
        return f"One chain only, so {what} cannot be computed. Fit again with " + option("chains", 4) + "."
    if sizes["chain"] * sizes["draw"] < draws:
        return f"Fewer than {draws} draws: too few for {what}. Fit again with more draws."
    return ""


def _check_variables(fit: xr.DataTree, source: str) -> None:
    """Raise `CascadeError` unless the variables of `GROUPS` are there, over their dims, and draws are finite."""
    several = "task" in fit["posterior"].dims
    optional = {group: OPTIONAL_GROUPS[group] for group in OPTIONAL_GROUPS if group in fit.children}
    for group, variables in (GROUPS | optional).items():
        found = fit[group].variables
        for name, known in variables.items():
            if name not in found:
                if known.optional:
                    continue
                raise CascadeError(
                    f"{source} is not a bayescascade fit: it lacks the variable {name!r} of group {group!r}. "
                    "Make one with " + call("fit", "log") + "."
                )
            dims = [dim for dim in known.dims if several or dim != "task"]
            values = found[name]
            if set(values.dims) != set(dims) or not _taken_for(values.dtype, np.dtype(known.dtype)):
                raise CascadeError(
                    "{} is not a bayescascade fit: {!r} of group {!r} is {} over {}, where {} over {} is needed. "
                    "Make one with {}.",
                    (source, name, group, values.dtype, values.dims, known.dtype, tuple(dims), call("fit", "log")),
                )
            if known.finite and not np.isfinite(values.values).all():
                n = int((~np.isfinite(values.values)).sum())
                raise CascadeError(
                    f"{source} is a damaged fit: {n} of the {values.size} values of {name!r} of group {group!r} "
                    "are NaN or infinite. Fit its log again with " + call("fit", "log") + "."
                )


def _taken_for(found: np.dtype, wanted: np.dtype) -> bool:
    """Whether values can be taken for another dtype without loss, and are of its kind."""
    return bool(np.can_cast(found, wanted)) and found.kind in {"i": "iu"}.get(wanted.kind, wanted.kind)


def _refuse_damaged(trouble: str, source: str) -> None:
    """Raise `CascadeError` for an `odd_attribute`, or a `disagreement`: arithmetic would end inside xarray."""
    if trouble:
        raise CascadeError(
            f"{source} is a damaged fit, or was changed in some groups only: {trouble}. Change all groups alike, "
            "or fit its log again with " + call("fit", "log") + "."
        )


def _check_tasks(fit: xr.DataTree, tasks: str, apart: str) -> None:
    """Raise `CascadeError` unless a fit is of as many tasks as asked for, and not of one out of several."""
    if apart and "task" in fit.attrs:
        raise CascadeError(f"this is the fit of the task {fit.attrs['task']!r}{apart}")
    posterior = fit["posterior"]
    if tasks == "one" and "task" in posterior.dims:
        names = [str(name) for name in posterior.coords["task"].values]
        raise CascadeError(
            f"this fit has the tasks {names}; choose one first, with " + call("select_task", "fit", names[0]) + "."
        )
    if tasks == "several" and "task" not in fit["observed_data"].coords:
        raise CascadeError(
            "this fit has no tasks: its log had no "
            + in_python("coord 'task'", "column of tasks")
            + "; name the column of tasks with "
            + in_python("read_log(..., ")
            + option("task", TO_FILL_IN)
            + in_python("), or join logs with combine_tasks,")
            + " and fit again"
        )


def _refuse_former(fit: xr.DataTree, source: str) -> None:
    """Raise `CascadeError` for a fit made with an option that there was once, and is no longer."""
    method = fit.attrs.get("method", "nuts")
    if not np.array_equal(method, "nuts"):
        raise CascadeError(
            "{} is a point estimate, made with {}, which there is no longer: fits are sampled. Fit its log again "
            "with {}.",
            (source, option("method", method), call("fit", "log")),
        )
    known: dict[str, Collection[str]] = {"margin": MARGIN_MODELS, "calibration": CALIBRATIONS}
    for name, values in known.items():
        if fit.attrs.get(name, next(iter(values))) not in values:
            raise CascadeError(
                "{} was made with {}, which there is no longer; there are {}. Fit its log again with one of "
                "these.",
                (source, option(name, fit.attrs[name]), ", ".join(map(repr, values))),
            )
    if "draw" in fit["copula"].dims:
        raise CascadeError(
            "{} mixes draws of several copula families ({}), but a link has one family now. Fit its log again "
            "with {}, or name a family for each link.",
            (source, option("copula", "stack"), option("copula", "auto")),
        )
    if "cost_slope" in fit["posterior"]:
        raise CascadeError(
            "{} has costs that depend on the signal{}, but a stage has one mean cost now. Fit its log again.",
            (source, in_python(" (cost='signal')")),
        )
