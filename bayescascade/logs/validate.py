"""What a log must be: `validate_log`, and the rules that every reader shares."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayescascade._common.memory import check_memory
from bayescascade._common.messages import counted, listed, show
from bayescascade._common.validation import TURNS, check_text
from bayescascade.errors import TO_FILL_IN, CascadeError, CascadeWarning, call, in_python, option, shown
from bayescascade.logs.meant import Matrix, what_is_meant
from bayescascade.logs.tables import EXAMPLE_PRICES, text_of
from bayescascade.signals.kinds import check_kind, clip_rounding, off_scale

Where = Callable[[int, int], str]
_PLURAL = {"query": "the queries", "stage": "the stages", "task": "the tasks"}
_CELL = 100.0  # bytes of all arrays of a log at once, for each query and stage
_IN_QUERIES = "\t\n\r" + TURNS  # a query's id may be its text
STAGE_ORDERS = ("as given", "by mean cost")


MOST_AMOUNT = 1e100  # of a confidence, a cost or a latency
MOST_VOTES = 128  # distinct shares: those of up to 127 samples


def check_enough_stages(names: list[str], least: int = 2) -> None:
    """A cascade has two stages or more; a policy may have chosen one of them."""
    if len(names) < least:
        only = f"only {names[0]!r}" if names else "none"
        raise CascadeError(
            f"a cascade needs at least two stages but this log has {only}; add the other stages' rows"
        )


def _too_large(name: str) -> str:
    return f"a {name} should be at most {MOST_AMOUNT:g}, so that sums of squares stay finite; take a larger unit"


def clean_matrices(
    matrices: dict[str, Matrix], names: list[str], kind: str, where: Where, labels: bool = True
) -> dict[str, Matrix]:
    """Check the values of a log and blank what belongs to stages not run.

    `where(query, stage)` describes a cell for messages. Returns new matrices: confidence, correct, cost and,
    if given, latency.
    """
    confidence = _clean_confidence(matrices["confidence"], names, kind, where)
    too_large = np.isfinite(confidence) & (np.abs(confidence) > MOST_AMOUNT)
    _first_bad(too_large, confidence, where, "confidence", _too_large("confidence"))
    _check_votes(confidence, names, kind)
    blank = np.full(confidence.shape, np.nan)
    correct, cost = matrices.get("correct", blank), matrices.get("cost", blank)
    _first_bad(
        ~np.isnan(correct) & (correct != 0) & (correct != 1),
        correct,
        where,
        "correct",
        "a label should be 0, 1, True or False, or empty (NaN) if unknown; of partial grades, from 0 to 1, say "
        "from which on an answer is right: "
        + option("pass_mark", 0.5)
        + ", and of other scores "
        + option("correct_if", "correct >= 7"),
    )
    for name, amount in {"cost": cost, "latency": matrices.get("latency", blank)}.items():
        allowed = f"a {name} should be finite and at least 0, or NaN if unknown"
        _first_bad(np.isinf(amount) | (amount < 0), amount, where, name, allowed)
        _first_bad(amount > MOST_AMOUNT, amount, where, name, _too_large(name))
    run = ~np.isnan(confidence)
    _warn_lost_labels(~np.isnan(correct) & ~run, where)
    # What a stage that was not run has to say is padding, typically zeros of a join: as labels or costs they
    # would count as wrong answers and free calls.
    cleaned = {
        name: np.where(run, matrix, np.nan)
        for name, matrix in {**matrices, "correct": correct, "cost": cost}.items()
        if name != "confidence"
    }
    told = np.any([~np.isnan(matrix) for matrix in matrices.values()], axis=(0, 1))
    there = [stage for stage in range(len(names)) if labels or told[stage]]  # a served log may not reach them all
    for stage in there:
        correct_there = cleaned["correct"][:, stage] if labels else None
        check_stage(names[stage], run[:, stage], correct_there, cleaned["cost"][:, stage])
    _check_pairs(run[:, there], [names[stage] for stage in there])
    return {"confidence": confidence, **cleaned}


def _clean_confidence(confidence: Matrix, names: list[str], kind: str, where: Where) -> Matrix:
    clipped = clip_rounding(confidence, kind)
    allowed = f"of kind {kind!r} it should be {check_kind(kind).description}, or NaN if the stage was not run"
    bad = off_scale(clipped, kind)
    meant = what_is_meant(clipped, names, kind) if bad.any() else ""
    if meant:
        allowed = allowed + "; " + meant
    _first_bad(bad, clipped, where, "confidence", allowed)
    return clipped


def _check_votes(confidence: Matrix, names: list[str], kind: str) -> None:
    """Refuse votes that are none: each distinct value is one of the model's, and work grows with their square."""
    if kind != "votes":
        return
    for stage, name in enumerate(names):
        found = np.unique(confidence[~np.isnan(confidence[:, stage]), stage]).size
        if found > MOST_VOTES:
            raise CascadeError(
                "confidences of stage {!r} have {} distinct values, so they are no shares of a few samples, of "
                "which there are at most {}; did you mean {}?",
                (name, found, MOST_VOTES, option("confidence_kind", "probability")),
                parameter="confidence_kind",
                value=kind,
            )


def _first_bad(bad: NDArray[np.bool_], values: Matrix, where: Where, what: str, allowed: str) -> None:
    if bad.any():
        query, stage = (int(place) for place in np.argwhere(bad)[0])
        total = int(bad.sum())
        others = f", and {total - 1} more like it" if total > 1 else ""
        raise CascadeError(
            f"{what} is {values[query, stage].item()!r} at {where(query, stage)}{others}; " + allowed
        )


def _warn_lost_labels(lost: NDArray[np.bool_], where: Where) -> None:
    if lost.any():
        query, stage = (int(place) for place in np.argwhere(lost)[0])
        warnings.warn(
            f"{counted(int(lost.sum()), 'label stands', 'labels stand')} without a confidence; there the stage "
            f"counts as not run, and no label is read (first: {where(query, stage)}); fill in the confidence to "
            "use them",
            CascadeWarning,
            stacklevel=4,
        )


def check_stage(name: str, run: NDArray[np.bool_], correct: Matrix | None, cost: Matrix) -> None:
    if not run.any():
        raise CascadeError(
            f"stage {show(name)} has no confidence in any row, so it counts as never run; log its confidence "
            "(a constant if it reports none), or leave the stage out with " + option("stages", [TO_FILL_IN])
        )
    if correct is not None and np.isnan(correct).all():
        raise CascadeError(
            f"stage {show(name)} has no labelled row: 'correct' is absent or empty wherever the stage was run; "
            f"label some of its answers (in a wide table the column is called '{name}.correct'), or leave the "
            "stage out with " + option("stages", [TO_FILL_IN])
        )
    if np.isnan(cost).all():
        raise CascadeError(
            f"stage {show(name)} has no known cost: it is empty wherever the stage was run; "
            "log it, or give the price of a call to each stage: " + EXAMPLE_PRICES
        )


def _check_pairs(run: NDArray[np.bool_], names: list[str]) -> None:
    """Every two neighbours have run on a query together: nothing else says how they go together."""
    both = (run[:, 1:] & run[:, :-1]).sum(axis=0)
    if not both.all():
        link = int(np.argmin(both))
        first, second = names[link : link + 2]
        raise CascadeError(
            f"no query ran both {show(first)} ({int(run[:, link].sum())} queries) and {show(second)} "
            f"({int(run[:, link + 1].sum())}), so nothing says how they go together: does one query have the same "
            "id, and the same task if there are tasks, in the rows of both, or was a stage renamed half way? "
            "Repair that, run both stages on some queries, or leave one out with " + option("stages", [TO_FILL_IN])
        )


def check_size(n_queries: int, names: list[str]) -> None:
    """Refuse a log whose arrays over queries and stages do not fit into memory, and warn where they hardly do."""
    what = f"a log of {n_queries:,} queries and {len(names):,} stages ({listed(names)})"
    advice = (
        "if the stages are not the models that were called, name the right columns 'query' and 'stage'; else keep "
        "some of the stages with " + option("stages", [TO_FILL_IN]) + ", or some of the queries"
    )
    check_memory(what, _CELL * n_queries * len(names), advice, stacklevel=4)


def check_names(what: str, labels: Iterable[Any]) -> None:
    """Refuse names that a terminal or a file cannot hold, and two that are one in two spellings.

    ``what`` is ``query``, ``stage`` or ``task``. Ids of queries may differ in case, and hold line ends.
    """
    seen: dict[str, str] = {}
    for label in (text_of(value, f"the label of a {what}") for value in labels):
        check_text(what, label, allowed=_IN_QUERIES if what == "query" else "")
        alike = _plain(label, what)
        if seen.setdefault(alike, label) != label:
            raise CascadeError(
                f"{_PLURAL[what]} {show(seen[alike])} and {show(label)} are alike: are they one, written in two "
                "ways? Write it the same way in every row, or rename one of them if they differ"
            )


def _plain(label: str, what: str) -> str:
    """A name without what two spellings of it may differ in, such as spaces, capitals and what nobody sees."""
    if not label.isascii():  # é is one character or two, and a zero-width space is none that is seen
        label = unicodedata.normalize("NFC" if what == "query" else "NFKC", label)
        label = "".join(letter for letter in label if unicodedata.category(letter) != "Cf")
    if what == "query":
        return re.sub(r"^(-?\d+)\.0+$", r"\1", label.strip())
    return re.sub(r"^(-?\d+)\.0+$", r"\1", " ".join(label.split())).casefold()


def validate_log(log: xr.Dataset, *, labels: bool = True) -> xr.Dataset:
    """Check a log built by hand, and put it into the form that `read_log` gives.

    Examples
    --------
    >>> import xarray as xr
    >>> from bayescascade.logs.validate import validate_log
    >>> log = xr.Dataset(
    ...     {
    ...         "confidence": (("query", "stage"), [[-0.3, -0.1], [-0.2, 0.0]]),
    ...         "correct": (("query", "stage"), [[0, 1], [1, 1]]),
    ...         "cost": (("query", "stage"), [[1e-4, 1e-3], [1e-4, 1e-3]]),
    ...     },
    ...     coords={"query": [7, 8], "stage": ["small", "large"]},
    ...     attrs={"confidence_kind": "logprob"},
    ... )
    >>> validate_log(log)["correct"].dtype
    dtype('float64')

    Parameters
    ----------
    log : xarray.Dataset
        Dims ``query`` and ``stage``, in any order; variables ``confidence``, ``correct``, ``cost`` over
        both; a coord ``stage`` of names, cheapest first; the attribute ``confidence_kind``. A coord ``task`` over
        query, if there is one, names the task of every query. Other variables, coords and attributes are kept.

    labels : bool
        Whether every stage needs a labelled answer, as a log to be fitted does. Where not, a stage may also have
        been reached by no query, and one stage is enough.

    Returns
    -------
    xarray.Dataset
        A new Dataset; the argument is left as it is. Confidences that overshoot their scale by rounding (at
        most 1e-6, such as a log-probability of 2.4e-7) are clipped to its end. Where a stage was not run (NaN
        confidence) its label, cost and latency are NaN too.

    Raises
    ------
    CascadeError
        If a part is missing or of the wrong shape; if there is one stage only, or a query or a stage occurs
        twice; if a confidence is off its scale, a label other than 0 or 1, or a cost or a latency negative or
        infinite; if a stage has no confidence, no known cost or no labelled row; if no query ran two neighbours;
        if a query's task is missing; if two names are alike, or hold a control character.

    Warns
    -----
    CascadeWarning
        If there are labels without a confidence.
    """
    if not isinstance(log, xr.Dataset):
        raise CascadeError(
            f"a log should be an xarray Dataset but is a {type(log).__name__}; make one with " + call("read_log")
        )
    kind, stage_order = _check_attrs(log)
    for name in ("confidence", "correct", "cost"):
        if name not in log.data_vars:
            raise CascadeError(f"the log has no variable {name!r}; it has {listed(log.data_vars)}")
    named = [name for name in ("confidence", "correct", "cost", "latency") if name in log.data_vars]
    for name in named:
        if set(log[name].dims) != {"query", "stage"}:
            raise CascadeError(f"{name!r} should have the dims query and stage but has {listed(log[name].dims)}")
    if "stage" not in log.coords:
        raise CascadeError("the log does not name its stages; add a coord 'stage', cheapest first")
    names = [text_of(name, "the name of a stage") for name in log["stage"].values]
    queries = log["query"].values
    check_enough_stages(names, 2 if labels else 1)
    check_size(len(queries), names)
    _check_labels("query", queries.tolist())
    _check_labels("stage", names)

    def where(query: int, stage: int) -> str:
        return f"row {query} (counted from 0; query {show(queries[query])}, stage {show(names[stage])})"

    matrices = {name: _floats(log[name]) for name in named}
    cleaned = clean_matrices(matrices, names, kind, where, labels)
    if queries.dtype.kind == "U":  # as `read_log` gives them
        queries = queries.astype(object)
    checked = log.assign_coords(query=queries, stage=np.array(names))
    if "task" in log.variables:
        checked = checked.assign_coords(task=("query", _check_tasks(log)))
    for name, matrix in cleaned.items():
        checked[name] = (("query", "stage"), matrix, log[name].attrs)
    return checked.assign_attrs(confidence_kind=kind, stage_order=stage_order)


def _check_attrs(log: xr.Dataset) -> tuple[str, str]:
    if "confidence_kind" not in log.attrs:
        raise CascadeError(
            "the log does not say what its confidences are"
            + in_python("; set log.attrs['confidence_kind'], e.g. to 'logprob'")
        )
    kind = check_kind(log.attrs["confidence_kind"]).name
    stage_order = log.attrs.get("stage_order", "as given")
    if not isinstance(stage_order, str) or stage_order not in STAGE_ORDERS:
        allowed = " or ".join(map(repr, STAGE_ORDERS))
        raise CascadeError(f"the attribute stage_order should be {allowed} but is {shown(stage_order)}")
    return kind, str(stage_order)


def _check_labels(dim: str, labels: list[Any]) -> None:
    try:
        counts = Counter(labels)
    except Exception:  # what cannot be told apart is no label
        raise CascadeError(f"the labels of dim {dim!r} should be texts or whole numbers; give such") from None
    for label, count in counts.items():
        if count > 1:
            raise CascadeError(f"{dim} {show(label)} occurs {count} times; every {dim} needs its own label")
    if any(isinstance(label, str) for label in labels):
        check_names(dim, labels)


def _check_tasks(log: xr.Dataset) -> NDArray[np.str_]:
    """The task of each query, as text."""
    if "task" not in log.coords:
        raise CascadeError("'task' is a variable of the log; make it a coord with log.set_coords('task')")
    if log["task"].dims != ("query",):
        raise CascadeError(f"the coord 'task' should have the dim query but has {listed(log['task'].dims)}")
    tasks = log["task"].values.tolist()
    for query, name in zip(log["query"].values.tolist(), tasks, strict=True):
        blank = name is None or (isinstance(name, float) and name != name)
        if blank or not text_of(name, "the name of a task").strip():
            raise CascadeError(
                f"query {show(query)} has no task (its task is {show(name)}); name the task of every query"
                + in_python(", or drop the coord with log.drop_vars('task')")
            )
    names = [str(name) for name in tasks]
    check_names("task", dict.fromkeys(names))
    return np.array(names)


def _floats(variable: xr.DataArray) -> Matrix:
    values = variable.transpose("query", "stage").values
    try:
        return np.array(values, dtype=np.float64)
    except Exception:  # too large, or whatever a class of the user's own raises
        raise CascadeError(f"{variable.name!r} should hold numbers but is of type {values.dtype}") from None
