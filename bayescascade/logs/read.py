"""Read and check logs of cascade queries: the way in."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayescascade._common.messages import listed, show
from bayescascade.errors import TO_FILL_IN, CascadeError, CascadeWarning, option, shown
from bayescascade.logs.columns import check_grades, check_pass_mark, is_real, renamed, right_or_wrong
from bayescascade.logs.layouts import Records, no_labels, to_records
from bayescascade.logs.meant import Matrix
from bayescascade.logs.plausible import warn_of_oddities, warn_of_torn_queries, warn_of_unread_latency
from bayescascade.logs.sources import joined_table
from bayescascade.logs.tables import EXAMPLE_PRICES, KIND, SIGNAL, TRUTH, to_numbers
from bayescascade.logs.validate import check_enough_stages, check_names, check_size, clean_matrices
from bayescascade.signals.kinds import KINDS, check_kind

_logger = logging.getLogger("bayescascade")


def read_log(
    source: str | os.PathLike[str] | pd.DataFrame | Any,
    *,
    confidence_kind: str | None = None,
    cost: str | Mapping[Any, float] = "cost",
    stages: Iterable[str | int] | None = None,
    task: str | None = None,
    grades: Mapping[str, float | None] | None = None,
    labels: bool = True,
    columns: Mapping[str, str] | None = None,
    correct_if: str | None = None,
    pass_mark: float | None = None,
) -> xr.Dataset:
    """Read a log of cascade queries.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayescascade.logs.read import read_log
    >>> table = pd.DataFrame(
    ...     {
    ...         "query": [1, 1, 2, 2],
    ...         "model": ["large", "small", "large", "small"],
    ...         "confidence": [0.9, 0.6, None, 0.8],  # query 2 stopped at the small model
    ...         "correct": [True, False, None, True],
    ...         "cost": [0.010, 0.001, None, 0.002],
    ...     }
    ... )
    >>> log = read_log(table, confidence_kind="probability")
    >>> dict(log.sizes), log["stage"].values.tolist(), log.attrs["stage_order"]
    ({'query': 2, 'stage': 2}, ['small', 'large'], 'by mean cost')
    >>> log["confidence"].sel(stage="large").values.tolist()
    [0.9, nan]

    Parameters
    ----------
    source : path, pattern, folder, list of paths or DataFrame
        CSV (``.csv``, ``.tsv``), Parquet (``.parquet``, ``.pq``) or JSON (``.jsonl``, ``.ndjson``, ``.json``: an
        object a line, an array of objects, or pandas' ``to_json``), also packed as ``.gz``; ``"-"`` is standard
        input. Spreadsheets' CSV is read where it has one meaning: semicolons or tabs, decimal commas, thousands,
        a currency's sign, UTF-16. Or a DataFrame of pandas, Polars (lazy ones too) or PyArrow. Pickles are never
        read. A folder, a pattern such as ``"logs/*.parquet"``, or a list of paths: Parquet or CSV files with the
        same columns, one after the other; columns may stand in the names of folders, ``tenant=acme/1.parquet``. A
        Dask DataFrame is computed first, and so has to fit into memory, as files do. Two layouts:

        * *long*, one row per query and stage: ``query``; ``stage``, ``model`` or both; ``confidence``; a cost
          column; optionally ``correct`` and ``latency`` (or ``latency_ms``). A stage is called by its
          ``model`` where ``stage`` is a whole number, else by ``stage``.
        * *wide*, one row per query: ``query`` (else rows are numbered from 0) and, for each stage, columns
          ``<stage>.confidence``, ``<stage>.correct``, ``<stage>.<cost>``, ``<stage>.latency``. Also accepted,
          one style per table: ``<stage>:confidence``, ``confidence:<stage>``, ``confidence.<stage>``,
          ``confidence_<stage>``, ``<stage>_confidence``, and the two-level columns of a pivoted DataFrame.

        Either layout may have a column of tasks, see ``task``.
    confidence_kind : str, optional
        What the confidences are: ``logprob``, ``log_likelihood``, ``p_true``, ``probability``, ``percent``,
        ``margin``, ``logprob_gap``, ``votes`` or ``score``. See `bayescascade.signals.kinds.KINDS`. Parquet of
        `write_log` says it, so that it can be left out.
    cost : str or mapping
        Name of the cost column (of the last part of its name in a wide table), or the price of one call by
        stage, e.g. ``{"small": 1e-4, "large": 1e-3}``. Any currency, the same everywhere.
    stages : iterable of str or int, optional
        Which stages to keep, in the order in which the cascade calls them, by name or by number: the value
        of a whole-number ``stage`` column, else the position in the order below. Queries that ran none of
        these stages are left out. By default all stages, ordered by ``stage`` where it is a whole number or
        an ordered categorical, else by mean cost of the calls that cost anything (ties by first appearance).
    task : str, optional
        Name of the column that says which task (or tenant) a query belongs to; by default ``task``, if there is
        one. Where query ids repeat between tasks, every id becomes ``"<task>/<query>"``. To leave tasks out of
        the model, drop the coord: ``log.drop_vars("task")``.
    grades : mapping of str to float or None, optional
        What the texts in ``correct`` stand for besides true and false, yes and no, e.g. ``{"C": 1, "I": 0,
        "N": None}``; None is not scored. Upper and lower case are the same. With ``pass_mark`` also what lies
        between: ``"P": 0.5``.
    labels : bool
        Whether every stage needs a labelled answer, as a log to be fitted does. False reads logs that update a
        fit, or of which reach and cost alone are asked. There a stage of ``stages`` that no query has reached may
        be missing, if all stages of the log are among ``stages``; and one stage is enough.
    columns : mapping of str to str, optional
        The log's own names of ``query``, ``stage``, ``confidence``, ``correct`` and ``latency``, e.g.
        ``{"query": "id"}``; of a wide table, of the part that comes with each stage. In a long log a name may
        also be written in capitals, as in ``Confidence``.
    correct_if : str, optional
        When an answer is right, in place of a column ``correct``: ``"score >= 0.5"``, ``"grade = A"``,
        ``"outcome in pass,ok"``. An empty cell is not labelled.
    pass_mark : float, optional
        The least grade of a right answer, in (0, 1], where ``correct`` holds grades from 0 to 1: with 0.5 a
        half-right answer is right, with 1 it is wrong. Without it a grade such as 0.5 is refused.

    Returns
    -------
    xarray.Dataset
        Dims ``(query, stage)``: ``confidence`` (NaN: the stage was not run), ``correct`` (0 or 1, NaN: not
        labelled), ``cost`` (in the log's currency, NaN: unknown) and, if logged, ``latency``. Queries stand
        in order of appearance; where the log has tasks, a coord ``task`` over query names them. Attributes:
        ``confidence_kind`` and ``stage_order`` ("as given" or "by mean cost", also logged at level INFO by the
        logger "bayescascade").

    Raises
    ------
    CascadeError
        If the log cannot be read or breaks a rule of `validate_log`; the message names the row.

    Warns
    -----
    CascadeWarning
        If rows carry a label but no confidence; if a stage is right less often where its confidence is higher,
        log-probabilities look like sums, percentages like probabilities or counts, a dearer stage is right less
        often, the stages stand dearest first, part of a stage's calls cost 0 or far more than the others, or a
        stage has no known latency; if all labels are the same and many answers have none; if a query may be torn
        in two by its id or its task; if a file may be cut off or is not in UTF-8.
    """
    if confidence_kind is not None:
        check_kind(confidence_kind)
    mark = check_pass_mark(pass_mark, correct_if)
    words = TRUTH | check_grades(grades, mark)
    prices = _check_cost(cost)
    wanted = _check_stages(stages, 2 if labels else 1)
    if task is not None and not isinstance(task, str):
        raise CascadeError(
            option("task") + f" should name a column but is {shown(task)}", parameter="task", value=task
        )
    table = renamed(joined_table(source), columns, correct_if, task)
    kind, signal = _kind_of(table, confidence_kind), table.attrs.get(SIGNAL)
    records = to_records(table, cost if isinstance(cost, str) else None, set(prices or ()), task)
    all_stages = None if labels else _with_those_not_reached(records, wanted)
    if all_stages is not None:
        wanted = [name for name in all_stages if name in records.names]
    if prices is not None:
        prices = _by_name(records, prices)
    check_size(len(records.queries), records.names if wanted is None else [str(name) for name in wanted])
    positions, stage_order = _arrange(records, prices, wanted)
    records = records.keep(positions)
    if labels:
        check_enough_stages(records.names)
        if "correct" not in records.cells:
            raise no_labels(records.names[0], table.columns)
    _check_unique(records)
    check_names("stage", records.names)
    named = records.queries.dtype != np.int64
    if named:
        check_names("query", records.queries)
    matrices = {name: _matrix(records, name, words if name == "correct" else None) for name in records.cells}
    if mark is not None and "correct" in matrices:
        matrices["correct"] = right_or_wrong(matrices["correct"], mark)
    if prices is not None:
        row = np.array([_price(prices, name) for name in records.names])
        matrices["cost"] = np.tile(row, (len(records.queries), 1))

    def where(query: int, stage: int) -> str:
        return records.where(int(np.argmax((records.query == query) & (records.stage == stage))))

    cleaned = clean_matrices(matrices, records.names, kind, where, labels)
    warn_of_oddities(cleaned, records.names, kind, stage_order == "as given" and len(records.names) > 1)
    if named:
        warn_of_torn_queries(records.queries, cleaned["confidence"], records.tasks)
    warn_of_unread_latency(records.cells, table.columns)
    log = xr.Dataset(
        {name: (("query", "stage"), matrix) for name, matrix in cleaned.items()},
        coords={"query": records.queries, "stage": np.array(records.names)},
        attrs={KIND: kind, "stage_order": stage_order} | ({SIGNAL: signal} if isinstance(signal, str) else {}),
    )
    if records.tasks is not None:
        check_names("task", np.unique(records.tasks))
        log = log.assign_coords(task=("query", records.tasks.astype(str)))
    if wanted is not None:  # queries that never came as far as these stages
        log = log.isel(query=log["confidence"].notnull().any("stage").values)
    if all_stages is not None:
        log = log.reindex(stage=np.array(all_stages))
    if records.latency_unit is not None:
        log["latency"].attrs["units"] = records.latency_unit
    _logger.info("%d queries; stages %s: %s", log.sizes["query"], stage_order, ", ".join(records.names))
    return log


def _kind_of(table: pd.DataFrame, given: str | None) -> str:
    """The kind of confidence that a user names, else the one that the file names."""
    stored = table.attrs.get(KIND)
    if given is None:
        if stored is None:
            kinds = ", ".join(KINDS)
            raise CascadeError(
                f"nothing says what the confidences are; name their kind, one of {kinds}: "
                + option(KIND, TO_FILL_IN),
                parameter=KIND,
            )
        return check_kind(stored).name
    if stored is not None and stored != given:
        told = "the file says that its confidences are of kind {!r}, but they are read with {}; is that meant?"
        warnings.warn(CascadeWarning(told, (stored, option(KIND, given))), stacklevel=3)
    return given


def _check_cost(cost: Any) -> dict[Any, float] | None:
    """Prices by stage if that is what `cost` is, None if it names a column."""
    if isinstance(cost, str):
        return None
    if not isinstance(cost, Mapping) or not cost:
        raise CascadeError(
            option("cost")
            + f" should name a column or give the price of a call to each stage but is {shown(cost)}; "
            "without costs no cascade can be weighed, so write e.g. " + EXAMPLE_PRICES,
            parameter="cost",
            value=cost,
        )
    for stage, price in cost.items():
        if not is_real(price) or not math.isfinite(price) or price < 0:
            raise CascadeError(
                f"the price of stage {shown(stage)} should be a finite number, at least 0, but is {shown(price)}"
            )
    return {stage: float(price) for stage, price in cost.items()}


def _check_stages(stages: Any, least: int) -> list[str | int] | None:
    if stages is None:
        return None
    if isinstance(stages, (set, frozenset)):
        raise CascadeError(
            option("stages") + f" is a set, {show(stages)}, which has no order; give a list, cheapest stage first",
            parameter="stages",
            value=stages,
        )
    if isinstance(stages, (str, Mapping)) or not isinstance(stages, Iterable):
        raise CascadeError(
            option("stages") + f' should be a list of names, e.g. ["small", "large"], but is {shown(stages)}',
            parameter="stages",
            value=stages,
        )
    wanted = [stage.item() if isinstance(stage, np.generic) else stage for stage in stages]
    for stage in wanted:
        # more digits than Python writes are no stage's number
        whole = isinstance(stage, int) and not isinstance(stage, bool) and abs(stage) < 2**63
        if not isinstance(stage, str) and not whole:
            raise CascadeError(
                option("stages") + f" should hold names or whole numbers but holds {shown(stage)}",
                parameter="stages",
                value=stages,
            )
    if len(wanted) < least:
        raise CascadeError(
            "a cascade needs at least two stages but "
            + option("stages")
            + f" is {shown(wanted)}; name two or more",
            parameter="stages",
            value=stages,
            hint="name two or more",
        )
    return wanted


def _by_name(records: Records, prices: dict[Any, float]) -> dict[str, float]:
    """Prices by the stages' names; a key is a name or the value of a whole-number stage column."""
    by_number = dict(zip(records.numbers or [], records.names, strict=False))
    named = {}
    for key, price in prices.items():
        name = key if isinstance(key, str) else by_number.get(key)
        if name not in records.names:
            raise CascadeError(
                option("cost")
                + f" names a stage {shown(key)}, which is not in the log; it has {listed(records.names)}",
                parameter="cost",
                value=prices,
            )
        named[name] = price
    return named


def _price(prices: dict[str, float], name: str) -> float:
    if name not in prices:
        raise CascadeError(
            option("cost") + f" gives no price for stage {name!r}, only for {listed(prices)}; add it",
            parameter="cost",
            value=prices,
        )
    return prices[name]


def _arrange(
    records: Records, prices: dict[str, float] | None, wanted: list[str | int] | None
) -> tuple[list[int], str]:
    """Places of the stages to keep, in the cascade's order, and how that order came about."""
    if wanted is None:
        check_enough_stages(records.names)
        if records.sorted:
            return list(range(len(records.names))), "as given"
        return _by_mean_cost(records, prices), "by mean cost"
    places: dict[str | int, int] = {name: place for place, name in enumerate(records.names)}
    if records.numbers is not None:
        places |= {number: place for place, number in enumerate(records.numbers)}
    elif any(stage not in places for stage in wanted):
        order = range(len(records.names)) if records.sorted else _by_mean_cost(records, prices)
        places |= dict(enumerate(order))
    # a number may come as text, as from the command line
    wanted = [
        int(stage) if isinstance(stage, str) and stage not in places and stage.isdecimal() else stage
        for stage in wanted
    ]
    for stage in wanted:
        if stage not in places:
            raise CascadeError(f"there is no stage {show(stage)} in the log; it has {listed(places)}")
    kept = [places[stage] for stage in wanted]
    if len(set(kept)) < len(kept):
        raise CascadeError(
            option("stages") + f" names a stage twice: {shown(wanted)}; each stage is called once",
            parameter="stages",
            value=wanted,
        )
    return kept, "as given"


def _with_those_not_reached(records: Records, wanted: list[str | int] | None) -> list[str] | None:
    """The wanted stages where a log lacks some and has no others, which may be the same ones misspelt."""
    if wanted is None or records.numbers is not None:
        return None
    names = [name for name in wanted if isinstance(name, str)]
    return names if set(records.names) < set(names) and len(set(names)) == len(wanted) else None


def _by_mean_cost(records: Records, prices: dict[str, float] | None) -> list[int]:
    if prices is not None:
        means = [_price(prices, name) for name in records.names]
    else:
        cost, confidence = (_numbers(records, name) for name in ("cost", "confidence"))
        known = ~np.isnan(cost) & ~np.isnan(confidence)
        means = []
        for stage, name in enumerate(records.names):
            costs = cost[known & (records.stage == stage)]
            free = int((costs == 0.0).sum())
            if 0 < free < len(costs):
                warnings.warn(
                    f"{free} of the {len(costs)} calls of stage {name!r} cost 0, as if answered from a cache; "
                    "they count in its mean cost, but not in the order of the stages. Leave a cost empty if it is "
                    "unknown",
                    CascadeWarning,
                    stacklevel=4,
                )
                costs = costs[costs > 0.0]
            if not len(costs):
                raise CascadeError(
                    "stage {!r} has no known cost, so stages cannot be ordered by mean cost; log it, or give the "
                    "order with {} and prices with {}",
                    (name, option("stages", [TO_FILL_IN]), option("cost", {name: TO_FILL_IN})),
                )
            means.append(float(costs.mean()))
    # Twelve digits, so that equal costs summed in another order stay a tie, and ties stay as they appear.
    return sorted(range(len(means)), key=lambda place: float(f"{means[place]:.12g}"))


def _check_unique(records: Records) -> None:
    pair = records.query * len(records.names) + records.stage
    order = np.argsort(pair, kind="stable")
    again = np.flatnonzero(np.diff(pair[order]) == 0)
    if len(again):
        first, second = order[again[0]], order[again[0] + 1]
        raise CascadeError(
            f"duplicate (query, stage): {records.where(second)} repeats row {records.row[first]}; "
            "keep one row for each, or give repeated samples query ids of their own"
        )


def _numbers(records: Records, name: str, words: Mapping[str, float] | None = None) -> NDArray[np.float64]:
    """The cells of one column as numbers, (record,)."""

    def complain(record: int, value: Any) -> CascadeError:
        start = f"{name} is {show(value)} at {records.where(record)}; it should be "
        if words is None:
            return CascadeError(start + "a number, or empty")
        how = "0, 1, True or False, or empty; if texts are grades, say what they stand for: "
        return CascadeError(start + how + option("grades", {"C": 1, "I": 0, "N": None}))

    return to_numbers(records.cells[name], complain, words)


def _matrix(records: Records, name: str, words: Mapping[str, float] | None) -> Matrix:
    matrix = np.full((len(records.queries), len(records.names)), np.nan)
    matrix[records.query, records.stage] = _numbers(records, name, words)
    return matrix
