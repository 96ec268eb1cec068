"""Samples of lm-evaluation-harness: confidences from the likelihoods of choices, and a metric of each document."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from bayescascade._common.messages import listed, show
from bayescascade.errors import TO_FILL_IN, CascadeError, option
from bayescascade.logs.importers.calls import Call, fault
from bayescascade.logs.importers.choices import choice_scores, is_pair
from bayescascade.logs.importers.collect import Collector, Options, collect
from bayescascade.logs.importers.fields import list_at, text_at
from bayescascade.logs.importers.finish import finished
from bayescascade.logs.importers.labels import Labels
from bayescascade.logs.importers.lines import Advance, json_lines
from bayescascade.logs.importers.lm_eval_files import File, files_of
from bayescascade.logs.importers.marks import check_pass_mark, label, pick_score
from bayescascade.logs.importers.prices import Prices
from bayescascade.logs.importers.progress import progress
from bayescascade.logs.importers.sources import named_stages
from bayescascade.signals.confidence import Signal
from bayescascade.signals.decisions import softmax

GIVEN = "its task scores a given text, so the model chose nothing"
GENERATED = "its task generates text, which is logged without log-probabilities"
USUAL = ("acc", "exact_match")
_NOTHING = -1000.0  # the logarithm of a probability that is 0 as a float


def read_lm_eval(
    source: Any,
    *,
    metric: str | None = None,
    filter: str | None = None,
    pass_mark: float | None = None,
    signal: str | Signal | None = None,
    labels: Any = None,
    grade: str | Callable[[Any, Any], bool | float | None] = "normalised",
    prices: Any = None,
    progressbar: bool = True,
    **signal_options: Any,
) -> xr.Dataset:
    """Read the samples that lm-evaluation-harness logs with ``--log_samples``.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from bayescascade.logs.importers.lm_eval import read_lm_eval
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> def line(i, no, yes, acc):
    ...     pairs = [[no, "False"], [yes, "False"]]
    ...     return json.dumps({"doc_hash": f"d{i}", "filter": "none", "filtered_resps": pairs, "acc": acc}) + "\\n"
    >>> _ = (folder / "small.jsonl").write_text(line(0, "-1.0", "-1.0", 0.0) + line(1, "-3.0", "-0.5", 1.0))
    >>> _ = (folder / "large.jsonl").write_text(line(0, "-0.1", "-2.0", 1.0) + line(1, "-4.0", "-0.5", 1.0))
    >>> log = read_lm_eval(
    ...     {"small": folder / "small.jsonl", "large": folder / "large.jsonl"},
    ...     prices={"small": 1e-4, "large": 1e-3},
    ... )
    >>> log["confidence"].round(2).values.tolist(), log["correct"].values.tolist()
    ([[0.5, 0.87], [0.92, 0.97]], [[0.0, 1.0], [1.0, 1.0]])

    Parameters
    ----------
    source : path, list of paths, or mapping of str to either
        ``samples_*.jsonl`` of each stage by its name, or the folder of its model, in the order of the cascade. Or
        the folder that ``--output_path`` named: each model in it is a stage.
    metric : str, optional
        Which metric tells right from wrong: by default ``acc``, else ``exact_match``, else the only one.
        Confidences follow it: those of ``acc_norm`` and ``acc_bytes`` are by the length of a choice, and those of
        ``acc_mutual_info`` are less its likelihood without the question, as for the metric.
    filter : str, optional
        Which filter's lines are read, where a task has several.
    pass_mark : float, optional
        The least value of the metric that is right, where it is neither 0 nor 1.
    signal : str or Signal, optional
        By default ``top_probability`` of the choices, their likelihoods scaled to sum to 1; ``top_gap`` is the
        first less the second. Tasks that generate hold texts only: ``verbalised`` reads a confidence in the text,
        ``agreement`` compares the answers of a task with ``repeats``.
    labels, grade, prices, progressbar, **signal_options
        As of `bayescascade.read_responses`. There are no costs in these files: give the price of a call.

    Returns
    -------
    xarray.Dataset
        As `bayescascade.read_log` gives it. A query is a document, by its hash, so that models are joined on the
        documents that they share. Where the files are of several tasks, a coord ``task`` names them.

    Raises
    ------
    CascadeError
        If a file cannot be read, a line is no sample, several metrics or filters are there and none is named, or
        the log breaks a rule of `bayescascade.validate_log`.

    Warns
    -----
    CascadeWarning
        If documents are left out, such as those of tasks without choices.
    """
    options = Options(signal, signal_options, Prices(prices), Labels(labels), grade)
    return finished(collect_lm_eval(source, options, metric, filter, pass_mark, progressbar))


def collect_lm_eval(
    source: Any,
    options: Options,
    metric: str | None = None,
    filter: str | None = None,
    pass_mark: float | None = None,
    progressbar: bool = True,
) -> Collector:
    """The documents in files of samples, collected."""
    files, older = files_of(source)
    options.stages = named_stages(source)
    several = len({file.task for file in files} - {None}) > 1
    reader = _Reader(metric, filter, check_pass_mark(pass_mark), several, texts=options.signal is not None)
    with progress([file.path for file in files], progressbar) as advance:
        collector = collect((call for file in files for call in reader.calls(file, advance)), options)
    if older:
        collector.notes.append(f"Of several runs of a task the newest is read; passed over: {', '.join(older)}.")
    return collector


class _Reader:
    """Lines to calls; ``texts`` is whether a signal was named, which may read them."""

    def __init__(
        self, metric: str | None, filter: str | None, pass_mark: float | None, several: bool, texts: bool
    ) -> None:
        self._metric, self._filter, self._pass_mark = metric, filter, pass_mark
        self._several, self._texts = several, texts

    def calls(self, file: File, advance: Advance) -> Iterator[Call]:
        wanted = None if self._filter is None else self._named_filter(file.path)
        seen: Counter[str] = Counter()
        for where, line in json_lines(file.path, advance):
            found = _filter(line, where)
            wanted = found if wanted is None else wanted
            if found == wanted:
                yield self._call(line, file, self._query(line, self._task(file), seen, where), where)
            elif self._filter is None and self._texts:
                raise CascadeError(
                    f"{where}: the task has the filters {show(wanted)} and {show(found)}; name one with "
                    + option("filter", TO_FILL_IN)
                )

    def _task(self, file: File) -> str | None:
        """The task, where there are several: a file that does not say counts as one of its own."""
        return (file.task or file.path.stem) if self._several else None

    def _named_filter(self, path: Path) -> str:
        """The filter that was named, or the only one of a task that has no choice."""
        found: dict[str, None] = {}
        for where, line in json_lines(path):
            found[_filter(line, where)] = None
            if self._filter in found:
                break
        if self._filter in found or len(found) == 1:
            return next(reversed(found))
        raise fault(str(path), f"there is no filter {self._filter!r}; there are {listed(found)}")

    def _query(self, line: dict[str, Any], task: str | None, seen: Counter[str], where: str) -> str:
        query = text_at(line, "doc_hash", where) or _hash(line, where)
        seen[query] += 1
        if seen[query] > 1:  # a document that the task has twice
            query = f"{query} ({seen[query]})"
        return f"{task}/{query}" if task is not None else query

    def _call(self, line: dict[str, Any], file: File, query: str, where: str) -> Call:
        response, problem = self._response(line, where)
        correct = None
        if problem is None:
            metric = self._metric_of(line, where)
            correct = label(line[metric], self._pass_mark, where, metric)
        return Call(
            query,
            file.model,
            response,
            stage=file.stage,
            correct=correct,
            task=self._task(file),
            where=where,
            problem=problem,
        )

    def _response(self, line: dict[str, Any], where: str) -> tuple[Any, str | None]:
        """What signals are computed from, choices with their probabilities or texts; or why there is nothing."""
        responses = list_at(line, "filtered_resps", where) or list_at(line, "resps", where)
        if not responses:
            return None, "there is no response"
        if not is_pair(responses[0]):
            return (_texts(line, responses, where), None) if self._texts else (None, GENERATED)
        if len(responses) == 1:
            return None, GIVEN
        return _chosen(choice_scores(line, responses, self._metric_of(line, where), where))

    def _metric_of(self, line: dict[str, Any], where: str) -> str:
        names = {name: name for name in list_at(line, "metrics", where) if isinstance(name, str)}
        usual = next((name for name in USUAL if name in line), None)
        if self._metric is None and usual is not None:
            return usual
        wanted = {**names, **({self._metric: 0} if self._metric in line else {})}
        name = pick_score(wanted, self._metric, where, "metric")
        if name not in line:
            raise fault(where, f"has no value of the metric {name!r}")
        return name


def _filter(line: dict[str, Any], where: str) -> str:
    return text_at(line, "filter", where) or "none"


def _hash(line: dict[str, Any], where: str) -> str:
    """The hash of a document as lm-evaluation-harness makes it; older versions did not log it."""
    document = line.get("doc")
    if document is None:
        raise fault(where, "has no 'doc_hash' and no 'doc', so nothing says which document it is of")
    return hashlib.sha256(json.dumps(document, indent=2, ensure_ascii=False).encode()).hexdigest()


def _chosen(scores: list[float]) -> tuple[Any, str | None]:
    """The choice with the largest score, and the probabilities of all, as a decision model answers."""
    top = max(scores)
    if not math.isfinite(top):
        return None, "no choice has a likelihood"
    probabilities = softmax([max(score - top, _NOTHING) for score in scores])
    choices = {str(place): probability for place, probability in enumerate(probabilities)}
    best = str(scores.index(top))
    return {"answers": {"choice": {"type": "choice", "choice": best, "probabilities": choices}}}, None


def _texts(line: dict[str, Any], responses: list[Any], where: str) -> Any:
    """The text that was generated, or the texts of a task with repeats."""
    texts = responses[0] if len(responses) == 1 else responses
    repeated = list_at(line, "resps", where)
    if isinstance(texts, str) and repeated and isinstance(repeated[0], list) and len(repeated[0]) > 1:
        texts = repeated[0]
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise fault(
            where, "'filtered_resps' should hold texts, or a log-likelihood and true or false for each choice"
        )
    return {"choices": [{"text": text} for text in texts]}
