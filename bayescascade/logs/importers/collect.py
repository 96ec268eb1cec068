"""Calls to a log: confidences, costs and labels of each, kept as numbers, and a count of what is left out."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayescascade._common.messages import listed, show
from bayescascade.errors import TO_FILL_IN, CascadeError, in_python, option
from bayescascade.logs.grade import grader
from bayescascade.logs.importers.answers import answer_of
from bayescascade.logs.importers.calls import Call, check_id_text, fault
from bayescascade.logs.importers.candidates import Candidates
from bayescascade.logs.importers.grading import graded
from bayescascade.logs.importers.labels import Labels
from bayescascade.logs.importers.prices import Prices
from bayescascade.logs.importers.summary import Summary
from bayescascade.logs.read import read_log
from bayescascade.logs.tables import SIGNAL
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.confidence import Signal, check_signal, confidence
from bayescascade.signals.prices import Unpriced
from bayescascade.signals.responses import number

UNLABELLED = "no label"
NO_COST = "no cost"
AGAIN = "the query was answered before"


@dataclass
class Options:
    """What a user asks of a reader, checked.

    Attributes
    ----------
    signal : str or Signal, optional
        How a confidence is made from a response; None leaves it to the first response.
    signal_options : mapping
        Of the signal; ``question`` also says which of several answers is graded.
    prices : Prices
    labels : Labels
    grade : str or callable
        Compares an answer with the true one.
    stages : sequence of str, optional
        The stages in the order of the cascade, where it is known.
    candidates : sequence of str or Signal
        Further signals, to be compared.
    """

    signal: str | Signal | None = None
    signal_options: Mapping[str, Any] = field(default_factory=dict)
    prices: Prices = field(default_factory=Prices)
    labels: Labels = field(default_factory=Labels)
    grade: str | Callable[[Any, Any], bool | float | None] = "normalised"
    stages: Sequence[str] | None = None
    candidates: Sequence[str | Signal] = ()

    @property
    def question(self) -> str | None:
        """Which of several questions is meant."""
        return self.signal_options.get("question")


class Collector:
    """Takes calls one by one and keeps their numbers, some dozens of bytes a call and its query's id.

    Examples
    --------
    >>> from bayescascade.logs.importers.calls import Call
    >>> from bayescascade.logs.importers.collect import Collector, Options
    >>> from bayescascade.logs.importers.labels import Labels
    >>> from bayescascade.logs.importers.prices import Prices
    >>> options = Options(labels=Labels({"q": "B", "r": "B"}), prices=Prices({"small": 1, "large": 9}))
    >>> collector = Collector(options)
    >>> def response(text, value):
    ...     logprobs = {"content": [{"token": text, "logprob": value}]}
    ...     return {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}
    >>> for query in ("q", "r"):
    ...     collector.add(Call(query, "small", response("A", -0.9), where="s.jsonl, line 1"))
    ...     collector.add(Call(query, "large", response("B", -0.1), where="l.jsonl, line 1"))
    >>> log = collector.to_dataset()
    >>> log["stage"].values.tolist(), log["correct"].values.tolist()
    (['small', 'large'], [[0.0, 1.0], [0.0, 1.0]])
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.summary = Summary()
        self.notes: list[str] = []  # of the reader, for the summary
        self._grade = grader(options.grade)
        self._signal: Signal | None = None
        if options.signal is not None:
            self._choose(options.signal)
        self._candidates = Candidates(options.candidates, options.signal_options)
        self._queries: dict[str | int, int] = {}
        self._stages: dict[str, int] = {name: place for place, name in enumerate(options.stages or ())}
        self._tasks: dict[str, int] = {}
        self._codes = {name: array("q") for name in ("query", "stage", "task")}
        self._values = {name: array("d") for name in ("confidence", "correct", "cost", "latency")}

    def _choose(self, signal: str | Signal) -> Signal:
        self._signal = check_signal(signal, self.options.signal_options)
        self.summary.signal, self.summary.kind = self._signal.name, self._signal.kind
        return self._signal

    def add(self, call: Call) -> None:
        """Keep a call, or count why it is left out."""
        if call.stage is None:
            raise fault(call.where, "no model is named; give each stage a file of its own, by the stage's name")
        if call.stage not in self.summary.stages:
            check_id_text("stage", call.stage, call.where)
        counts = self.summary.stage(call.stage)
        counts.calls += 1
        if call.model is not None:
            counts.models.add(call.model)
        if call.problem is not None or call.response is None:
            counts.leave_out(call.problem or "there is no response", call.where)
            return
        if call.query is None:
            counts.leave_out("the query is not named", call.where)
            return
        signal = self._signal or self._choose(default_signal(call.response))
        try:
            value = confidence(call.response, signal, **self.options.signal_options)
        except NoConfidence as error:
            counts.leave_out(error.reason, call.where)
            return
        counts.kept += 1
        check_id_text("query", call.query, call.where)
        check_id_text("task", call.task, call.where)
        self._codes["query"].append(self._queries.setdefault(call.query, len(self._queries)))
        self._codes["stage"].append(self._stages.setdefault(call.stage, len(self._stages)))
        self._codes["task"].append(self._tasks.setdefault(call.task or "", len(self._tasks)))
        self._values["confidence"].append(value)
        self._values["correct"].append(self._correct(call, call.query, call.stage))
        self._values["cost"].append(self._cost(call, call.stage))
        self._values["latency"].append(_latency(call))
        self._candidates.add(call.response)

    def _cost(self, call: Call, stage: str) -> float:
        counts = self.summary.stage(stage)
        try:
            if self.options.prices.given:
                cost = self.options.prices.cost(stage, call.model, call.usage, call.batch)
            elif call.cost is None:
                raise Unpriced(NO_COST)
            else:
                cost = number(call.cost)
        except Unpriced as error:
            counts.lack(str(error), call.where)
            return math.nan
        if not cost >= 0.0:
            raise fault(call.where, f"the cost is {show(call.cost)}; it should be a finite number of at least 0")
        counts.priced += 1
        counts.batched += int(bool(call.batch) and self.options.prices.given)
        return cost

    def _correct(self, call: Call, query: str | int, stage: str) -> float:
        counts, labels = self.summary.stage(stage), self.options.labels
        found = labels.grade(query, stage)
        if found is None:
            found = self._compared(call, labels.expected(query))
        if math.isnan(found) and call.correct is not None:
            found = call.correct
        if math.isnan(found) and call.correct is None:
            found = self._compared(call, call.expected)
        if math.isnan(found):
            counts.lack(UNLABELLED, call.where)
            return math.nan
        if found not in (0.0, 1.0):
            raise fault(call.where, f"the grade is {show(found)}; it should be 0 or 1")
        counts.labelled += 1
        counts.right += int(found)
        return float(found)

    def _compared(self, call: Call, expected: Any) -> float:
        if expected is None:
            return math.nan
        try:
            answer = answer_of(call.response, self.options.question) if call.answer is None else call.answer
        except NoConfidence:
            return math.nan
        if isinstance(expected, Mapping) and not isinstance(answer, Mapping):  # of one question of several
            expected = expected.get(self.options.question)
        return math.nan if expected is None else graded(answer, expected, self._grade, call.where)

    # ---- at the end

    def to_dataset(self) -> xr.Dataset:
        """The log, with every check of `read_log`; its summary is complete from here on.

        Raises
        ------
        CascadeError
            If no call can be used, or the log breaks a rule of `validate_log`.
        """
        self.finish()
        for name in self._stages or self.summary.stages:
            if not self.summary.stage(name).kept:
                raise CascadeError(
                    f"no call of stage {show(name)} can be used, so there is no log.\n{self.summary}"
                )
            if not self.summary.stage(name).priced:
                raise CascadeError(
                    f"no call of stage {show(name)} has a cost, so there is no log; give the prices of all stages "
                    "with " + option("prices", dict.fromkeys(self.summary.stages, TO_FILL_IN)),
                    parameter="prices",
                )
        if not self.options.labels.used and not any(stage.labelled for stage in self.summary.stages.values()):
            raise self._unlabelled()
        table = self.table()
        log = read_log(table, confidence_kind=self.summary.kind)
        if "latency" in log:
            log["latency"].attrs["units"] = "s"
        names = np.array(list(self._stages), dtype=object)
        log = self._candidates.attach(log, self._codes_of("query"), names[self._codes_of("stage")])
        return log.assign_attrs({SIGNAL: self.summary.signal, "summary": self.summary.text})

    def _unlabelled(self) -> CascadeError:
        """No answer is known to be right or wrong: because no labels came, or because none is of these queries."""
        labels = self.options.labels
        if not len(labels):
            return CascadeError(
                "nothing says which answers are right; give a table of queries and right answers with "
                + in_python("labels='gold.csv'", "--labels gold.csv"),
                parameter="labels",
            )
        return CascadeError(
            f"none of the {len(labels)} labels is of a query in the log: a label is of {show(labels.queries[0])}, "
            f"where a query is {show(next(iter(self._queries)))}; give the labels the ids of the responses.",
            parameter="labels",
        )

    def finish(self) -> None:
        """Drop what came twice, and count queries."""
        pair = self._codes_of("query") * max(len(self._stages), 1) + self._codes_of("stage")
        first = np.unique(pair, return_index=True)[1]
        if len(first) < len(pair):
            self._drop(np.sort(first))
        ran = np.bincount(self._codes_of("query"), minlength=len(self._queries))
        self.summary.queries, self.summary.complete = int((ran > 0).sum()), int((ran == len(self._stages)).sum())
        self.summary.notes = [*self.notes, *self._notes()]

    def _drop(self, kept: NDArray[np.int64]) -> None:
        stage = self._codes_of("stage")
        labelled, priced = (~np.isnan(np.array(self._values[name])) for name in ("correct", "cost"))
        right = np.array(self._values["correct"]) == 1.0
        gone = np.ones(len(stage), dtype=bool)
        gone[kept] = False
        names = list(self._stages)
        ids = list(self._queries)
        for place in np.unique(stage[gone]):
            here = gone & (stage == place)
            counts = self.summary.stage(names[place])
            first = ids[self._codes["query"][int(np.argmax(here))]]
            counts.leave_out(AGAIN, f"query {show(first)}", int(here.sum()))
            counts.kept -= int(here.sum())
            counts.labelled -= int((here & labelled).sum())
            counts.right -= int((here & right).sum())
            counts.priced -= int((here & priced).sum())
        for arrays in (self._codes, self._values, self._candidates.values):
            for name, values in arrays.items():
                arrays[name] = array(values.typecode, np.array(values)[kept].tobytes())  # type: ignore[index]

    def _codes_of(self, name: str) -> NDArray[np.int64]:
        return np.array(self._codes[name], dtype=np.int64)

    def _notes(self) -> Iterable[str]:
        labels, prices = self.options.labels, self.options.prices
        unused = len(labels) - len(labels.used)
        if unused:
            yield f"{unused} of {len(labels)} labels are of no query in the log."
        batched = sum(stage.batched for stage in self.summary.stages.values())
        if batched and prices.batch_discount != 1.0:
            yield f"{batched} calls of a batch cost {prices.batch_discount:g} of the price (batch discount)."
        if prices.unused():
            yield f"Prices of no call: {listed(prices.unused())}."
        if prices.cached_as_input:
            yield (
                f"{prices.cached_as_input} tokens came from a cache and are priced as any other input, because no "
                "third price says what they cost."
            )

    def table(self) -> pd.DataFrame:
        """The calls as a long table, as `read_log` takes it."""
        names = list(self._stages)
        ids = np.array([*self._queries, None], dtype=object)[:-1]  # not a two-dimensional array of tuples
        ordered = self.options.stages is not None
        columns: dict[str, Any] = {
            "query": pd.Series(ids[self._codes_of("query")], dtype=object),
            "stage": pd.Categorical.from_codes(self._codes_of("stage"), names, ordered=ordered),
        }
        if len(self._tasks) > 1 or "" not in self._tasks:
            columns["task"] = pd.Categorical.from_codes(self._codes_of("task"), list(self._tasks))
        columns |= {name: np.array(values) for name, values in self._values.items()}
        if np.isnan(columns["latency"]).all():
            del columns["latency"]
        return pd.DataFrame(columns)


def default_signal(response: Any) -> str:
    """The signal that a response always has: of decision models the top probability, else the mean."""
    return "top_probability" if isinstance(response, Mapping) and "answers" in response else "mean_logprob"


def _latency(call: Call) -> float:
    value = number(call.latency)
    return value if value >= 0.0 else math.nan


def collect(calls: Iterable[Call], options: Options) -> Collector:
    """All calls, collected."""
    collector = Collector(options)
    for call in calls:
        collector.add(call)
    return collector
