"""From a log to the arrays that the model reads: signals placed in cells, rows ordered by case, labels, costs.

`Design` is what is known before any parameter: it is kept in the fit's ``constant_data``, so that posterior
draws can be turned into margins and calibrations without the log. Arrays run over *columns*: the stages, or, where
a log has several tasks, the stages of each task in turn. Links likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescascade.errors import CascadeError
from bayescascade.logs.tasks import tasks_of
from bayescascade.logs.validate import validate_log
from bayescascade.model.calibration import Scaling, build_scaling, get_calibration
from bayescascade.model.complete import complete_arrays, complete_queries
from bayescascade.model.costs import cost_statistics
from bayescascade.model.margins.models import get_margin_model
from bayescascade.model.margins.segments import Margin, build_margin
from bayescascade.model.options import Options, Structure, structure_of
from bayescascade.model.population import arrays as population_arrays
from bayescascade.model.query_rows import (
    Places,
    observed_ranks,
    patterns,
    ranked_columns,
    rows_given_ease,
)
from bayescascade.model.rows import Rows
from bayescascade.model.subsample import fair
from bayescascade.signals.kinds import KINDS, to_signal

# So many complete queries are worth their closed form where there are others, too.
_MANY_COMPLETE = 1000

_DIMS: dict[str, tuple[str, ...] | str] = {
    "row_cell": "row",
    "row_log_shape": "row",
    "row_signal": "row",
    "label_column": "label",
    "label_atom": "label",
    "label_correct": "label",
    "query_seen": "query",
}


@dataclass(frozen=True)
class Design:
    """A log made ready for the model.

    Attributes
    ----------
    stages, links : list of str
    tasks : list of str
        Empty where the log has no coordinate ``task``.
    kind : str
        The log's ``confidence_kind``.
    options : Options
    margins, scalings : list
        One `Margin` and one `Scaling` for each column.
    arrays : dict of str to ndarray
        What `pm.Data` holds, by name.
    row_query, row_column, label_query : ndarray of int
        Where each row and label stands in the log.
    row_segment : ndarray of int
        The segment of its margin that each row lies in.
    row_follows : ndarray of bool
        Whether the stage before was run for the row's query, too.
    sampled : ndarray of bool (query,)
        Whether a query's signals count; those of the others are only what their labels are given.
    whole : xarray.Dataset
        The log that margins and costs come from: the log itself, or what it is a `subsample` of.
    """

    stages: list[str]
    tasks: list[str]
    kind: str
    options: Options
    margins: list[Margin]
    scalings: list[Scaling]
    arrays: dict[str, np.ndarray]
    row_query: np.ndarray
    row_column: np.ndarray
    row_segment: np.ndarray
    row_follows: np.ndarray
    label_query: np.ndarray
    sampled: np.ndarray
    whole: xr.Dataset

    @property
    def thinned(self) -> bool:
        """Whether the log is a `subsample`, so that most queries are in the ``whole`` log only."""
        return len(self.sampled) < self.whole.sizes["query"]

    @property
    def dims(self) -> dict[str, tuple[str, ...] | str]:
        """Dims of the arrays that have named ones."""
        return _DIMS

    @property
    def column_dims(self) -> tuple[str, ...]:
        """Dims of what there is one of for each column."""
        return ("task", "stage") if self.tasks else ("stage",)

    @property
    def links(self) -> list[str]:
        """Names of the pairs of consecutive stages."""
        return [f"{a} > {b}" for a, b in zip(self.stages[:-1], self.stages[1:], strict=True)]

    @property
    def columns(self) -> list[str]:
        """Names of the columns: the stages, or task and stage."""
        return [f"{t}, {s}" for t in self.tasks for s in self.stages] or self.stages

    @property
    def structure(self) -> Structure:
        """What decides the model's graph."""
        ways = "complete_row" in self.arrays, "pattern_line" in self.arrays or not self.options.difficulty
        return structure_of(self.options, len(self.stages), max(1, len(self.tasks)), *ways)


def build_design(
    log: xr.Dataset,
    options: Options,
    segments_of: Design | None = None,
    weight: np.ndarray | None = None,
    whole: xr.Dataset | None = None,
    structure: Structure | None = None,
) -> Design:
    """Place every observed signal and label of a validated log.

    With ``segments_of``, its segments and scalings are used in place of those that the log suggests. ``weight``
    (query, stage) says how many queries an observed signal stands for, see `deferral_weights`. Where the log is a
    `subsample`, margins and costs come from the ``whole`` log, whose queries ``weight`` is then over. A
    ``structure`` says which ways to the likelihood are to occur, whatever suits the log.
    """
    log = validate_log(log)
    kind = str(log.attrs["confidence_kind"])
    stages = [str(s) for s in log["stage"].values]
    whole = log if whole is None else whole
    tasks, all_tasks = tasks_of(whole)
    task = tasks_of(log, tasks)[1]
    n_tasks = max(1, len(tasks))
    signal, correct, _ = _values(log, kind)
    sampled, every = fair(log), fair(whole)
    all_signals, _, cost = (values[every] for values in _values(whole, kind))
    all_tasks = all_tasks[every]
    if segments_of is None:
        weight = None if weight is None else weight[every]
        margins, scalings = _margins(all_signals, weight, all_tasks, kind, stages, tasks)
    else:
        margins, scalings = segments_of.margins, segments_of.scalings
    model = get_margin_model(options.margin)
    families = structure_of(options, len(stages), n_tasks).families
    # without a difficulty labels are given the signals anyway, and signals of other queries have no part in it
    seen = signal if options.difficulty else np.where(sampled[:, None], signal, np.nan)
    rows = Rows(seen, task, margins, options, families)
    z = _standardised(signal, task, scalings)
    labels, label_query = _labels(signal, z, task, correct, scalings, options)
    n_links = len(stages) - 1
    used = model.cell_used(margins)
    arrays = model.arrays(margins) | {"cell_used": used} | labels
    if options.difficulty:
        ranked = ranked_columns(all_signals, all_tasks, len(margins))
        ranks = observed_ranks(rows, all_signals, all_tasks, ranked)
        arrays |= {"ranked": ranked.astype(float)}
        places = Places(rows, model.by, used.shape[1], ranks)
        complete = _by_closed_form(rows, signal.shape, options, structure)
        arrays |= _by_query(rows, places, complete, sampled, task, n_tasks, labels, label_query)
    else:
        arrays |= rows.placed(model.by, used.shape[1])
    tau_low = np.tile([family.tau_range[0] for family in options.families], n_tasks)[: n_tasks * n_links]
    arrays |= {
        "tau_low": tau_low,
        "cost_known": by_task(cost_statistics, cost, all_tasks, n_tasks),
    }
    if options.population is not None:
        arrays |= population_arrays(options.population, options.difficulty)
    return Design(
        stages,
        tasks,
        kind,
        options,
        margins,
        scalings,
        arrays,
        rows.query,
        rows.column,
        rows.segment,
        rows.follows,
        label_query,
        sampled,
        whole,
    )


def _values(log: xr.Dataset, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signals, correctness and costs (query, stage)."""
    confidence, correct, cost = (
        log[name].transpose("query", "stage").values for name in ("confidence", "correct", "cost")
    )
    return to_signal(confidence, kind), correct, cost


def _margins(
    signal: np.ndarray,
    weight: np.ndarray | None,
    task: np.ndarray,
    kind: str,
    stages: list[str],
    tasks: list[str],
) -> tuple[list[Margin], list[Scaling]]:
    bounds = signal_bounds(kind)
    margins, scalings = [], []
    for t in range(max(1, len(tasks))):
        for j, name in enumerate(stages):
            here = (task == t) & np.isfinite(signal[:, j])
            x = signal[here, j]
            if not len(x):
                raise CascadeError(
                    f"task {tasks[t]!r} never ran stage {name!r}; log its confidence for some of the task's "
                    "queries, or leave the stage or the task out."
                )
            heavy = None if weight is None else weight[here, j] / weight[here, j].mean()
            margins.append(build_margin(x, discrete=kind == "votes", bounds=bounds, weight=heavy))
            scalings.append(build_scaling(x, margins[-1]))
    return margins, scalings


def signal_bounds(kind: str) -> tuple[float, float]:
    """Range of the signal scale of a kind of confidence."""
    spec = KINDS[kind]
    ends = to_signal(np.array([spec.lower, spec.upper], dtype=float), kind)
    return float(ends[0]), float(ends[1])


def _standardised(signal: np.ndarray, task: np.ndarray, scalings: list[Scaling]) -> np.ndarray:
    """Standardised signals (query, stage); NaN where a stage was not run."""
    z = np.full(signal.shape, np.nan)
    for column, scaling in enumerate(scalings):
        t, j = divmod(column, signal.shape[1])
        z[task == t, j] = scaling.standardise(signal[task == t, j])
    return z


def _labels(
    signal: np.ndarray,
    z: np.ndarray,
    task: np.ndarray,
    correct: np.ndarray,
    scalings: list[Scaling],
    options: Options,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the calibration reads of each label, by name, and the label's query (label,)."""
    query, stage = np.nonzero(np.isfinite(correct) & np.isfinite(signal))
    column = task[query] * signal.shape[1] + stage
    calibration = get_calibration(options.calibration)
    own = z[query, stage]
    atom = np.zeros(len(query), dtype=np.int64)
    inputs: dict[str, np.ndarray] = {}
    for c, scaling in enumerate(scalings):
        here = column == c
        atom[here] = scaling.which_atom(signal[query[here], stage[here]])
        for name, value in calibration.inputs(own[here], scaling).items():
            inputs.setdefault(name, np.zeros((len(query), *value.shape[1:])))[here] = value
    arrays = {"label_column": column, "label_atom": atom, "label_correct": correct[query, stage].astype(np.int64)}
    return arrays | {f"label_{name}": value for name, value in inputs.items()}, query


def _by_closed_form(
    rows: Rows, shape: tuple[int, int], options: Options, structure: Structure | None
) -> np.ndarray:
    """Which of the queries that have a closed form are to be taken by it (query,)."""
    complete = complete_queries(rows, shape)
    if structure is not None:
        return complete & structure.complete & ((np.arange(shape[0]) % 2 == 0) | (not structure.at_nodes))
    # compiling both ways takes twice as long as one, so small logs have one; and all candidates have the same
    return complete & (not options.candidates) & (complete.sum() >= min(shape[0], _MANY_COMPLETE))


def _by_query(
    rows: Rows,
    places: Places,
    complete: np.ndarray,
    sampled: np.ndarray,
    task: np.ndarray,
    n_tasks: int,
    labels: dict[str, np.ndarray],
    label_query: np.ndarray,
) -> dict[str, np.ndarray]:
    """Arrays of the likelihood of whole queries, where these have a difficulty."""
    shape = len(sampled), len(rows.column_link) // n_tasks
    label_at = label_query, labels["label_column"] % shape[1]
    closed, first = complete_arrays(rows, complete, task, shape, places, label_at, labels["label_correct"])
    fixed, parts, none = rows_given_ease(rows, complete, n_tasks * (shape[1] - 1), places)
    of_patterns, arrays = patterns(shape, task, rows, parts, none, labels, label_at, sampled, first)
    arrays |= places.margins(sampled)
    if complete.any():
        arrays |= closed
    if not complete.all():
        arrays |= fixed | of_patterns
    # mean and standard deviation of the logit of tau's share of its range, see `build._residual_tau`
    prior = [(0.0, 0.53) if family.tau_range[0] < 0.0 else (-1.83, 1.39) for family in rows.families]
    seen = np.bincount(rows.query, minlength=shape[0]) + np.bincount(label_query, minlength=shape[0])
    return arrays | {
        "query_seen": seen.astype(float),
        "zero": np.zeros(1),
        "tau_prior": np.array(prior).T,
    }


def by_task(
    statistic: Callable[[np.ndarray], np.ndarray], values: np.ndarray, task: np.ndarray, n_tasks: int
) -> np.ndarray:
    """A statistic (..., stage) of values (query, stage), for the stages of each task in turn (..., column)."""
    return np.concatenate([statistic(values[task == t]) for t in range(n_tasks)], axis=-1)
