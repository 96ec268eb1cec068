"""Logs of Inspect: each file is a model's run, or one file holds the calls of a whole cascade."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr

from bayescascade.errors import TO_FILL_IN, CascadeError, option
from bayescascade.logs.importers.calls import Call, fault
from bayescascade.logs.importers.collect import Collector, Options, collect
from bayescascade.logs.importers.fields import object_at
from bayescascade.logs.importers.finish import finished
from bayescascade.logs.importers.inspect_log import (
    ModelCall,
    Run,
    message_id,
    opened_log,
    solver_calls,
    with_texts,
)
from bayescascade.logs.importers.labels import Labels
from bayescascade.logs.importers.lines import Advance
from bayescascade.logs.importers.marks import check_pass_mark, label, pick_score
from bayescascade.logs.importers.one_line import check_id
from bayescascade.logs.importers.prices import Prices
from bayescascade.logs.importers.progress import progress
from bayescascade.logs.importers.sources import Source, named_stages, sources_of
from bayescascade.signals.confidence import Signal
from bayescascade.signals.responses import number

SUFFIXES = (".eval", ".json")


def read_inspect(
    source: Any,
    *,
    score: str | None = None,
    pass_mark: float | None = None,
    signal: str | Signal | None = None,
    labels: Any = None,
    grade: str | Callable[[Any, Any], bool | float | None] = "normalised",
    prices: Any = None,
    progressbar: bool = True,
    **signal_options: Any,
) -> xr.Dataset:
    """Read logs of Inspect.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from bayescascade.logs.importers.inspect import read_inspect
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> def sample(i, text, logprob, score):
    ...     logprobs = {"content": [{"token": text, "logprob": logprob}]}
    ...     output = {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}
    ...     return {"id": i, "epoch": 1, "output": output, "scores": {"match": {"value": score}}}
    >>> def write(name, *samples):
    ...     log = {"status": "success", "eval": {"task": "capitals", "model": name}, "samples": samples}
    ...     _ = (folder / f"{name}.json").write_text(json.dumps(log))
    >>> write("small", sample(1, "Lyon", -0.9, "I"), sample(2, "Rome", -0.1, "C"))
    >>> write("large", sample(1, "Paris", -0.2, "C"), sample(2, "Rome", -0.1, "C"))
    >>> log = read_inspect(folder, prices={"small": 1e-4, "large": 1e-3})
    >>> log["confidence"].values.tolist(), log["correct"].values.tolist()
    ([[-0.9, -0.2], [-0.1, -0.1]], [[0.0, 1.0], [1.0, 1.0]])

    Parameters
    ----------
    source : path, list of paths, or mapping of str to either
        A ``.eval`` or ``.json`` log for each stage by its name, in the order of the cascade. Or logs, or a folder
        of them, whose stages are called by the roles of their models, else by the models: so is one log in which
        solvers called several models. Models that scorers called are left out.
    score : str, optional
        Which score tells right from wrong, where there are several; ``"name.key"`` for one that holds several
        values. C is right, I and N (no answer) are wrong, P is half; NaN is not scored.
    pass_mark : float, optional
        The least score of a right answer, for scores other than 0 and 1.
    signal, grade, prices, progressbar, **signal_options
        As of `bayescascade.read_responses`. Log-probabilities are in a log if it was run with ``logprobs=True``.
        By default the costs that Inspect worked out.
    labels : mapping, path or DataFrame, optional
        As of `bayescascade.read_responses`; they go before the log's scores.

    Returns
    -------
    xarray.Dataset
        As `bayescascade.read_log` gives it. Queries are the samples' ids; further epochs of a sample are queries
        of their own, ``"<id> (epoch 2)"``. Where the logs are of several tasks, a coord ``task`` names them. In a
        cascade's log the score is that of the model whose output was taken; answers that were passed over have
        no label.

    Raises
    ------
    CascadeError
        If a file cannot be read or is no log of Inspect, a member is encrypted or damaged, a score is neither
        right nor wrong, or the log breaks a rule of `bayescascade.validate_log`.

    Warns
    -----
    CascadeWarning
        If samples are left out: failed ones, empty ones, those without log-probabilities.
    """
    options = Options(signal, signal_options, Prices(prices), Labels(labels), grade)
    return finished(collect_inspect(source, options, score, pass_mark, progressbar))


def collect_inspect(
    source: Any,
    options: Options,
    score: str | None = None,
    pass_mark: float | None = None,
    progressbar: bool = True,
) -> Collector:
    """The samples of logs of Inspect, collected."""
    files = sources_of(source, SUFFIXES)
    options.stages = named_stages(source)
    needed = score is not None or not options.labels.given
    reader = _Reader(score, check_pass_mark(pass_mark), needed, several=len(_tasks(files) - {None}) > 1)
    with progress([file.path for file in files], progressbar) as advance:
        collector = collect((call for file in files for call in reader.calls(file, advance)), options)
    collector.notes += reader.notes()
    return collector


def _tasks(files: list[Source]) -> set[str | None]:
    """The tasks of all logs; one log is not opened for it."""
    found = set()
    for file in files if len(files) > 1 else ():
        with opened_log(file.path) as (run, _):
            found.add(run.task)
    return found


class _Reader:
    """Samples to calls; ``needed`` is whether their scores are."""

    def __init__(self, score: str | None, pass_mark: float | None, needed: bool, several: bool) -> None:
        self._score, self._pass_mark, self._needed, self._several = score, pass_mark, needed, several
        self._unfinished: list[str] = []
        self._epochs = 1

    def calls(self, file: Source, advance: Advance) -> Iterator[Call]:
        with opened_log(file.path, advance) as (run, samples):
            if run.status != "success":
                self._unfinished.append(f"{file.path} ({run.status})")
            empty = True
            for where, sample in samples:
                empty = False
                yield from self._sample(sample, run, file.stage, where)
            if empty:
                raise fault(str(file.path), "the log has no samples; run Inspect without --no-log-samples")

    def notes(self) -> Iterator[str]:
        if self._unfinished:
            yield f"Runs that did not end well: {', '.join(self._unfinished)}."
        if self._epochs > 1:
            yield f"Samples ran in up to {self._epochs} epochs; each is a query of its own."

    def _sample(self, sample: dict[str, Any], run: Run, stage: str | None, where: str) -> Iterator[Call]:
        task = (run.task or "no task") if self._several else None
        query = self._query(sample, task, where)
        problem = _problem(sample)
        made = [] if problem else solver_calls(sample, where)
        output = object_at(sample, "output", where)
        if stage is not None or len({call.stage for call in made}) < 2:
            own = stage or (made[-1].stage if made else run.model)
            outputs = [call.output for call in made] or [output]
            yield self._call(query, own, run.model, output, outputs, sample, task, problem, where, graded=True)
            return
        last = _taken(made, output)
        for name in dict.fromkeys(call.stage for call in made):
            own_calls = [call for call in made if call.stage == name]
            outputs = [call.output for call in own_calls]
            model = own_calls[-1].model
            yield self._call(
                query, name, model, outputs[-1], outputs, sample, task, problem, where, graded=name == last
            )

    def _query(self, sample: dict[str, Any], task: str | None, where: str) -> str | int | None:
        query, epoch = check_id(sample.get("id"), where), sample.get("epoch", 1)
        if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 1:
            raise fault(where, f"'epoch' is {epoch!r}; it should be a whole number from 1 on")
        if query is None:
            return None
        self._epochs = max(self._epochs, epoch)
        if epoch > 1:
            query = f"{query} (epoch {epoch})"
        return query if task is None else f"{task}/{query}"

    def _call(
        self,
        query: str | int | None,
        stage: str | None,
        model: str | None,
        output: dict[str, Any],
        outputs: list[dict[str, Any]],
        sample: dict[str, Any],
        task: str | None,
        problem: str | None,
        where: str,
        graded: bool,
    ) -> Call:
        """The call of one stage: its answer is ``output``, its cost that of all ``outputs``."""
        usage = _usage(outputs, where)
        return Call(
            query,
            model,
            None if problem else with_texts(output, object_at(sample, "attachments", where)),
            stage=stage,
            correct=self._correct(sample, where) if graded and not problem else math.nan,
            usage=usage,
            cost=usage.get("total_cost") if usage else None,
            latency=_total(out.get("time") for out in outputs),
            task=task,
            where=where,
            problem=problem,
        )

    def _correct(self, sample: dict[str, Any], where: str) -> float:
        scores = object_at(sample, "scores", where)
        if not scores or not self._needed:
            return math.nan
        name, _, key = (self._score or "").partition(".")
        if self._score in scores:
            name, key = self._score, ""
        name = pick_score(scores, name or None, where)
        value = object_at(scores, name, where).get("value")
        if key and isinstance(value, dict):
            value, name = value.get(key), f"{name}.{key}"
        elif isinstance(value, dict):
            keys = ", ".join(f"{name}.{inner}" for inner in value)
            raise CascadeError(
                f"{where}: the score {name!r} holds several values; name one with "
                + option("score", TO_FILL_IN)
                + f": {keys}"
            )
        return label(value, self._pass_mark, where, name)


def _problem(sample: dict[str, Any]) -> str | None:
    if sample.get("error"):
        return "the sample failed"
    return "the sample was invalidated" if sample.get("invalidation") else None


def _taken(calls: list[ModelCall], output: dict[str, Any]) -> str:
    """The stage whose output was taken: the call with the same message, else the last one."""
    wanted = message_id(output)
    same = [call.stage for call in calls if wanted is not None and message_id(call.output) == wanted]
    return same[-1] if same else calls[-1].stage


def _usage(outputs: list[dict[str, Any]], where: str) -> dict[str, float] | None:
    """Tokens and costs of all calls, in the names of OpenAI: there, cached tokens are part of the input."""
    usages = [object_at(output, "usage", where) for output in outputs]
    if not all(usages):
        return None
    total: dict[str, float] = {}
    cached = _total(usage.get("input_tokens_cache_read") or 0 for usage in usages)
    written = _total(usage.get("input_tokens_cache_write") or 0 for usage in usages)
    sent, answered, cost = (
        _total(usage.get(name) for usage in usages) for name in ("input_tokens", "output_tokens", "total_cost")
    )
    if sent is not None and answered is not None:
        extra = (cached or 0.0) + (written or 0.0)
        total = {"input_tokens": sent + extra, "output_tokens": answered}
        total["input_tokens_details"] = {"cached_tokens": cached or 0.0}  # type: ignore[assignment]
    return total | ({} if cost is None else {"total_cost": cost})


def _total(values: Any) -> float | None:
    """The sum, None where one of them is no number."""
    total = math.fsum(number(value) for value in values)
    return None if math.isnan(total) else total
