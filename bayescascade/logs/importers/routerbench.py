"""Wide tables of RouterBench: a score and a cost of every model, and confidences from another table."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.logs.importers.calls import Call
from bayescascade.logs.importers.collect import Collector, Options, collect
from bayescascade.logs.importers.finish import finished
from bayescascade.logs.importers.lines import is_pickle
from bayescascade.logs.importers.marks import check_pass_mark, label
from bayescascade.logs.tables import column, load_table, to_numbers
from bayescascade.signals.confidence import Signal
from bayescascade.signals.kinds import check_kind

SAMPLE = "sample_id"
COST = "|total_cost"
ABSENT = "no confidence is given for it"


class Model(NamedTuple):
    """Columns of one model (row,), as numbers."""

    name: str
    confidence: NDArray[np.float64]
    score: NDArray[np.float64]
    cost: NDArray[np.float64]


def read_routerbench(
    source: Any,
    *,
    confidence: Any,
    confidence_kind: str,
    models: Sequence[str] | Mapping[str, str] | None = None,
    pass_mark: float | None = None,
    task: str | None = None,
) -> xr.Dataset:
    """Read a wide table of RouterBench, with confidences that you have of the same models.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayescascade.logs.importers.routerbench import read_routerbench
    >>> table = pd.DataFrame(
    ...     {
    ...         "sample_id": ["mmlu.0", "mmlu.1"],
    ...         "small": [0.0, 1.0],
    ...         "large": [1.0, 1.0],
    ...         "small|total_cost": [1e-4, 1e-4],
    ...         "large|total_cost": [1e-3, 2e-3],
    ...     }
    ... )
    >>> sure = pd.DataFrame({"sample_id": ["mmlu.1", "mmlu.0"], "small": [0.9, 0.6], "large": [0.9, 0.8]})
    >>> log = read_routerbench(table, confidence=sure, confidence_kind="probability")
    >>> log["confidence"].values.tolist(), log["correct"].values.tolist()
    ([[0.6, 0.8], [0.9, 0.9]], [[0.0, 1.0], [1.0, 1.0]])

    Parameters
    ----------
    source : path or DataFrame
        A table with the columns ``sample_id`` and, for each model, ``<model>`` (its score) and
        ``<model>|total_cost``; any other columns are left alone. CSV, Parquet or JSON, or a DataFrame. The files
        that are published are pickles, which are never read: the error says how to convert one.
    confidence : path, DataFrame or str
        The table has no confidences. Another table with ``sample_id`` and a column for each model; or with
        ``sample_id``, ``model`` and ``confidence``. A name says that they stand in the columns ``<model>|<name>``
        of ``source``.
    confidence_kind : str
        What the confidences are, as of `bayescascade.read_log`.
    models : list of str, or mapping of str to str, optional
        Which models are the stages, in the order of the cascade, or from stages to models; by default all that
        have confidences, by their mean cost.
    pass_mark : float, optional
        The least score of a right answer, where one is neither 0 nor 1.
    task : str, optional
        The column that names tasks, such as ``eval_name``.

    Returns
    -------
    xarray.Dataset
        As `bayescascade.read_log` gives it; samples that have no confidence of a model did not run it.

    Raises
    ------
    CascadeError
        If a table cannot be read, lacks a column or has a sample twice, a score is neither right nor wrong, or
        the log breaks a rule of `bayescascade.validate_log`.

    Warns
    -----
    CascadeWarning
        If samples are left out because there is no confidence of them.
    """
    return finished(collect_routerbench(source, Options(), confidence, confidence_kind, models, pass_mark, task))


def collect_routerbench(
    source: Any,
    options: Options,
    confidence: Any = None,
    confidence_kind: str | None = None,
    models: Sequence[str] | Mapping[str, str] | None = None,
    pass_mark: float | None = None,
    task: str | None = None,
) -> Collector:
    """The samples of a wide table, collected."""
    _refuse_pickle(source)
    if confidence is None or confidence_kind is None:
        raise CascadeError(
            f"{_name(source)} holds no confidences, as no table of RouterBench does; give a table of them with "
            + option("confidence")
            + ", and say what they are with "
            + option("confidence_kind"),
        )
    signal = Signal("given", check_kind(confidence_kind).name, _given)
    _refuse_pickle(confidence)
    table, name = load_table(source), _name(source)
    samples = _samples(table, name)
    known = _models(table, name)
    values = _confidences(table, samples, known, confidence)
    stages = _stages(models, known, values)
    options.signal, options.stages = signal, None if models is None else list(stages)
    found = {stage: _model(table, model, values[model], name) for stage, model in stages.items()}
    tasks = None if task is None else _column(table, task, name).astype(str).tolist()
    return collect(_calls(samples, found, tasks, check_pass_mark(pass_mark), name), options)


def _given(value: float) -> float:
    """A confidence that is one already."""
    return value


def _calls(
    samples: list[str], stages: Mapping[str, Model], tasks: list[str] | None, pass_mark: float | None, name: str
) -> Iterator[Call]:
    for row, sample in enumerate(samples):
        where = f"{name}, row {row} (counted from 0; {SAMPLE} {show(sample)})"
        for stage, model in stages.items():
            there = not math.isnan(model.confidence[row])
            yield Call(
                sample,
                model.name,
                float(model.confidence[row]) if there else None,
                stage=stage,
                correct=label(float(model.score[row]), pass_mark, where, model.name) if there else None,
                cost=None if math.isnan(model.cost[row]) else float(model.cost[row]),
                task=None if tasks is None else tasks[row],
                where=where,
                problem=None if there else ABSENT,
            )


def _refuse_pickle(source: Any) -> None:
    """The published table is a pickle, so say how to convert it."""
    if not isinstance(source, str | os.PathLike) or not is_pickle(source):
        return
    made = show(str(Path(source).with_suffix(".parquet")))
    raise CascadeError(
        f"{source} is a pickle, which can run any code when opened, so it is never read. If you trust where it "
        f"is from, convert it once with pandas.read_pickle({show(str(source))}).to_parquet({made}), and read that"
    )


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "the DataFrame"


def _column(table: pd.DataFrame, wanted: str, name: str) -> pd.Series:
    if wanted not in table.columns:
        raise CascadeError(f"{name} has no column {wanted!r}; it has {listed(table.columns)}")
    return column(table, wanted)


def _samples(table: pd.DataFrame, name: str) -> list[str]:
    """Ids of the rows, each once."""
    found = [str(value).strip() for value in _column(table, SAMPLE, name).tolist()]
    seen: set[str] = set()
    for row, sample in enumerate(found):
        if sample in seen:
            raise CascadeError(
                f"{name} has {SAMPLE} {show(sample)} twice (again in row {row}, counted from 0); keep one row"
            )
        seen.add(sample)
    return found


def _models(table: pd.DataFrame, name: str) -> list[str]:
    """Models with a score and a cost."""
    costs = [str(text).removesuffix(COST) for text in table.columns if str(text).endswith(COST)]
    found = [model for model in costs if model in table.columns]
    if not found:
        raise CascadeError(
            f"{name} has no columns '<model>' and '<model>{COST}', as a wide table of RouterBench has; it has "
            f"{listed(table.columns)}"
        )
    return found


def _numbers(table: pd.DataFrame, wanted: str, name: str) -> NDArray[np.float64]:
    def complain(row: int, value: Any) -> CascadeError:
        return CascadeError(
            f"{name}, row {row} (counted from 0): {wanted!r} is {show(value)}; it should be a number"
        )

    return to_numbers(_column(table, wanted, name), complain, words={"true": 1.0, "false": 0.0})


def _model(table: pd.DataFrame, model: str, confidence: NDArray[np.float64], name: str) -> Model:
    return Model(model, confidence, _numbers(table, model, name), _numbers(table, model + COST, name))


def _stages(models: Any, known: list[str], values: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
    """Models by stage, all of which have confidences."""
    if models is None:
        return {model: model for model in known if model in values}
    if isinstance(models, str | set | frozenset) or not isinstance(models, Sequence | Mapping) or not models:
        raise bad_value("models", models, f"give the names of models, cheapest first, out of {listed(known)}")
    wanted = dict(models) if isinstance(models, Mapping) else {str(model): model for model in models}
    for model in wanted.values():
        if model not in known:
            raise CascadeError(
                f"models names {show(model)}, which the table does not have; it has {listed(known)}"
            )
        if model not in values:
            raise CascadeError(f"there are no confidences of model {show(model)}, only of {listed(values)}")
    return {str(stage): str(model) for stage, model in wanted.items()}


def _confidences(
    table: pd.DataFrame, samples: list[str], known: list[str], confidence: Any
) -> dict[str, NDArray[np.float64]]:
    """Confidences by model, in the order of the samples; NaN where there is none."""
    suffix = f"|{confidence}"
    if isinstance(confidence, str) and any(model + suffix in table.columns for model in known):
        there = [model for model in known if model + suffix in table.columns]
        return {model: _numbers(table, model + suffix, "the table") for model in there}
    if isinstance(confidence, str) and "." not in confidence and not os.path.exists(confidence):
        raise CascadeError(
            f"the table has no columns '<model>{suffix}', and there is no file {confidence!r}; confidence names "
            "such columns, or is a table with the confidences"
        )
    other, name = load_table(confidence), f"{_name(confidence)} with the confidences"
    if {"model", "confidence"} <= set(other.columns):
        other = _widened(other, name)
    rows = {sample: row for row, sample in enumerate(_samples(other, name))}
    there = [model for model in known if model in other.columns]
    if not there:
        raise CascadeError(
            f"{name} should have {SAMPLE} and a column for each model, or {SAMPLE}, model and confidence, but has "
            f"{listed(other.columns)}; the models are {listed(known)}"
        )
    places = np.array([rows.get(sample, -1) for sample in samples])
    if (places < 0).all():
        raise CascadeError(
            f"no {SAMPLE} of the table is in {name}: {show(samples[0])} here, {show(next(iter(rows)))} there"
        )
    found = {}
    for model in there:
        values = _numbers(other, model, name)
        found[model] = np.where(places >= 0, values[places], np.nan)
    return found


def _widened(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """A column for each model, from a table of a row for each sample and model."""
    keys = [_column(table, key, name).astype(str).str.strip() for key in (SAMPLE, "model")]
    index = pd.MultiIndex.from_arrays(keys, names=[SAMPLE, "model"])
    if index.has_duplicates:
        again = index[index.duplicated()][0]
        raise CascadeError(f"{name} has {show(again[0])} of model {show(again[1])} twice; keep one row of each")
    values = pd.Series(column(table, "confidence").to_numpy(dtype=object), index=index)
    return values.unstack("model").reset_index()
