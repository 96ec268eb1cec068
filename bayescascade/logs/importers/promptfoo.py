"""Results of promptfoo: every provider is a stage, every test a query."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr

from bayescascade._common.messages import show
from bayescascade.errors import CascadeError
from bayescascade.logs.importers.calls import Call, check_object, fault
from bayescascade.logs.importers.collect import Collector, Options, collect
from bayescascade.logs.importers.fields import document, list_at, object_at, text_at
from bayescascade.logs.importers.finish import finished
from bayescascade.logs.importers.labels import Labels
from bayescascade.logs.importers.lines import content_of, json_lines, name_of
from bayescascade.logs.importers.marks import check_pass_mark, label, pick_score
from bayescascade.logs.importers.prices import Prices
from bayescascade.logs.importers.sources import Source, named_stages, sources_of
from bayescascade.signals.confidence import Signal
from bayescascade.signals.responses import number

SUFFIXES = (".json", ".jsonl")
MAX_FILE = 1 << 29  # bytes; results are one JSON text, which is held in memory
WHAT = "results of promptfoo have a list 'results', or an object 'results' with one"
SCORE = "score"
_ERROR = 2  # promptfoo's reason for a failure that is no wrong answer
_UNGRADED = "No assertions"

Results = Iterator[tuple[str, dict[str, Any]]]


def read_promptfoo(
    source: Any,
    *,
    score: str | None = None,
    pass_mark: float | None = None,
    signal: str | Signal | None = None,
    labels: Any = None,
    grade: str | Callable[[Any, Any], bool | float | None] = "normalised",
    prices: Any = None,
    **signal_options: Any,
) -> xr.Dataset:
    """Read the results that promptfoo writes with ``--output results.json``.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from bayescascade.logs.importers.promptfoo import read_promptfoo
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "results.json"
    >>> def result(test, provider, logprob, cost, success):
    ...     response = {"output": "B", "logProbs": [logprob], "cost": cost}
    ...     found = {"testIdx": test, "promptIdx": int(provider == "large"), "provider": {"id": provider}}
    ...     return {**found, "response": response, "success": success, "vars": {}}
    >>> results = [result(0, "small", -0.9, 1e-4, False), result(0, "large", -0.2, 1e-3, True)]
    >>> results += [result(1, "small", -0.1, 1e-4, True), result(1, "large", -0.1, 1e-3, True)]
    >>> _ = path.write_text(json.dumps({"results": {"version": 3, "results": results}}))
    >>> log = read_promptfoo(path)
    >>> log["confidence"].values.tolist(), log["correct"].values.tolist()
    ([[-0.9, -0.2], [-0.1, -0.1]], [[0.0, 1.0], [1.0, 1.0]])

    Parameters
    ----------
    source : path, list of paths, or mapping of str to either
        A ``.json`` or ``.jsonl`` of results, of any version. Each provider is a stage, by its label or its id;
        one that answers several prompts is a stage with each. Or a file for each stage by its name, in the order
        of the cascade. Tests are the queries; those of several files are joined by their ``vars``.
    score : str, optional
        By default an answer is right where promptfoo says ``success``. ``"score"`` takes the score of the test,
        any other name that of its named scores.
    pass_mark : float, optional
        The least score of a right answer, where one is neither 0 nor 1.
    signal, labels, grade, prices, **signal_options
        As of `bayescascade.read_responses`. promptfoo logs the log-probabilities of the tokens that were answered
        where a provider gives them (``logprobs: true`` in its config), so signals of these can be made. Costs are
        those of promptfoo, where it knows the price.

    Returns
    -------
    xarray.Dataset
        As `bayescascade.read_log` gives it.

    Raises
    ------
    CascadeError
        If a file cannot be read or holds no results, a score is neither right nor wrong, or the log breaks a rule
        of `bayescascade.validate_log`.

    Warns
    -----
    CascadeWarning
        If results are left out: failed calls, those without log-probabilities.
    """
    options = Options(signal, signal_options, Prices(prices), Labels(labels), grade)
    return finished(collect_promptfoo(source, options, score, pass_mark))


def collect_promptfoo(
    source: Any, options: Options, score: str | None = None, pass_mark: float | None = None
) -> Collector:
    """The results in files of promptfoo, collected."""
    files = sources_of(source, SUFFIXES)
    options.stages = named_stages(source)
    reader = _Reader(score, check_pass_mark(pass_mark), several=len(files) > 1)
    collector = collect((call for file in files for call in reader.calls(file)), options)
    if reader.cached:
        collector.notes.append(
            f"{reader.cached} answers came from promptfoo's cache; they have no cost and no time."
        )
    return collector


def results_of(file: Source) -> Results:
    """The results in a file with where each stands.

    Raises
    ------
    CascadeError
        If the file cannot be read, or holds none.
    """
    if file.path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        yield from json_lines(file.path)
        return
    name = name_of(file.path)
    found = document(content_of(file.path, MAX_FILE, "write the results as .jsonl"), name)
    inner = found.get("results")
    results = list_at(inner if isinstance(inner, dict) else found, "results", name)
    if not results:
        raise CascadeError(f"{name} holds no results; {WHAT}")
    for number_, result in enumerate(results):
        where = f"{name}, result {number_} (counted from 0)"
        yield where, check_object(result, where)


class _Reader:
    """Results to calls."""

    def __init__(self, score: str | None, pass_mark: float | None, several: bool) -> None:
        self._score, self._pass_mark, self._several = score, pass_mark, several
        self.cached = 0

    def calls(self, file: Source) -> Iterator[Call]:
        results = [*results_of(file)]
        prompts: dict[str, set[str]] = defaultdict(set)
        for where, result in results:
            prompts[_provider(result, where)].add(_prompt(result, where))
        seen: Counter[tuple[str, str]] = Counter()
        for where, result in results:
            provider, prompt = _provider(result, where), _prompt(result, where)
            stage = f"{provider} / {prompt}" if len(prompts[provider]) > 1 else provider
            stage = file.stage or stage
            yield self._call(result, stage, self._query(result, stage, seen, where), where)

    def _query(self, result: dict[str, Any], stage: str, seen: Counter[tuple[str, str]], where: str) -> str | int:
        """The number of a test within one file; across files what its variables are."""
        test, given = result.get("testIdx"), object_at(result, "vars", where)
        if isinstance(test, int) and not isinstance(test, bool) and not self._several:
            return test
        if not given:
            raise fault(where, "has no 'vars' and no 'testIdx', so nothing says which test it is of")
        query = _digest(given)
        seen[query, stage] += 1
        return query if seen[query, stage] == 1 else f"{query} ({seen[query, stage]})"

    def _call(self, result: dict[str, Any], stage: str, query: str | int, where: str) -> Call:
        response = object_at(result, "response", where)
        problem = _problem(result, response)
        cached = response.get("cached") is True
        self.cached += cached and problem is None
        milliseconds = None if cached else number(result.get("latencyMs"))
        return Call(
            query,
            _model(result, where),
            None if problem else _response(response, where),
            stage=stage,
            correct=math.nan if problem else self._correct(result, where),
            usage=_usage(response, where),
            cost=None if cached else _cost(result, response),
            latency=None if milliseconds is None else milliseconds / 1000.0,
            where=where,
            problem=problem,
        )

    def _correct(self, result: dict[str, Any], where: str) -> float:
        if object_at(result, "gradingResult", where).get("reason") == _UNGRADED:
            return math.nan  # which promptfoo counts as a success
        if self._score is None:
            success = result.get("success")
            if not isinstance(success, bool):
                raise fault(where, f"'success' should be true or false but is {show(success)}")
            return float(success)
        scores = {SCORE: result.get("score"), **object_at(result, "namedScores", where)}
        name = pick_score(scores, self._score, where)
        return label(scores[name], self._pass_mark, where, name)


def _provider(result: dict[str, Any], where: str) -> str:
    """What a provider is called: by its label, else by its id."""
    given = result.get("provider")
    if isinstance(given, str) and given.strip():
        return given
    provider = object_at(result, "provider", where)
    name = text_at(provider, "label", where) or text_at(provider, "id", where)
    if name is None:
        raise fault(where, "'provider' has neither a label nor an id")
    return name


def _model(result: dict[str, Any], where: str) -> str:
    """The provider's id, by which prices are looked up, too."""
    provider = result.get("provider")
    return (text_at(provider, "id", where) if isinstance(provider, dict) else None) or _provider(result, where)


def _prompt(result: dict[str, Any], where: str) -> str:
    """The prompt's template, which is the same for all tests."""
    given = result.get("prompt")
    prompt = given if isinstance(given, dict) else {}
    name = text_at(prompt, "label", where) or text_at(prompt, "display", where)
    place = result.get("promptIdx")
    return name or ("" if place is None else f"prompt {place}")


def _problem(result: dict[str, Any], response: dict[str, Any]) -> str | None:
    """Why there is no answer; an answer that an assertion rejects has an error, too, and is one."""
    reason = result.get("failureReason")
    if (
        reason == _ERROR
        or response.get("error")
        or (reason is None and result.get("error") and "output" not in response)
    ):
        return "the call failed"
    return None if response else "there is no response"


def _response(response: dict[str, Any], where: str) -> dict[str, Any]:
    """A choice as OpenAI has it: promptfoo keeps the text and the tokens' log-probabilities."""
    output = response.get("output")
    text = output if isinstance(output, str) else json.dumps(output)
    return {"choices": [{"text": text, "logprobs": list_at(response, "logProbs", where) or None}]}


def _cost(result: dict[str, Any], response: dict[str, Any]) -> Any:
    """What the provider says; a result without a price has the cost 0 from version 3 on, which is no cost."""
    return response["cost"] if response.get("cost") is not None else result.get("cost") or None


def _usage(response: dict[str, Any], where: str) -> dict[str, Any] | None:
    tokens = object_at(response, "tokenUsage", where)
    if tokens.get("prompt") is None:
        return None
    return {"prompt_tokens": tokens["prompt"], "completion_tokens": tokens.get("completion")}


def _digest(given: dict[str, Any]) -> str:
    """The variables of a test as a short text; as they are, where they are short."""
    text = json.dumps(given, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 80 else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
