"""Formats of evaluation runs, as `formats` registers them: how each is collected, and how its files start."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bayescascade.errors import CascadeError, option
from bayescascade.logs.importers.collect import Collector, Options
from bayescascade.logs.importers.head import Head
from bayescascade.logs.importers.inspect import collect_inspect
from bayescascade.logs.importers.inspect_log import HEADERS, ZIP
from bayescascade.logs.importers.lm_eval import collect_lm_eval
from bayescascade.logs.importers.promptfoo import collect_promptfoo
from bayescascade.logs.importers.routerbench import COST, SAMPLE, collect_routerbench

Collect = Callable[..., Collector]
Looks = Callable[[Head], bool]

# a log or results longer than what is looked at are no whole JSON
_INSPECT = re.compile(rb'\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:\s*"\w+"\s*,\s*"eval"\s*:\s*\{')
_PROMPTFOO = re.compile(rb'"results"\s*:\s*\{\s*"version"\s*:\s*\d+\s*,')


def is_inspect(head: Head) -> bool:
    """Whether a file is a log of Inspect, a zip file or JSON."""
    if head.content.startswith(ZIP):
        return any(name.encode() in head.content for name in (*HEADERS, "samples/"))
    return bool(_INSPECT.match(head.content)) or (
        "samples" in head.first and isinstance(head.first.get("eval"), dict)
    )


def is_lm_eval(head: Head) -> bool:
    """Whether a file holds samples of lm-evaluation-harness."""
    return "filtered_resps" in head.first


def is_promptfoo(head: Head) -> bool:
    """Whether a file holds results of promptfoo, as one text or as lines."""
    inner = head.first.get("results")
    whole = isinstance(inner, dict) and isinstance(inner.get("results"), list)
    lines = {"provider", "success"} <= set(head.first) and "vars" in head.first
    return whole or lines or bool(_PROMPTFOO.search(head.content[:4096]))


def is_routerbench(head: Head) -> bool:
    """Whether a file is a wide table of RouterBench."""
    return SAMPLE.encode() in head.content and COST.encode() in head.content


def _own_queries(collect: Collect, name: str) -> Collect:
    """A reader whose format says what its queries are; the score is called ``name`` by it."""

    def collected(
        source: Any, options: Options, query: str | None = None, *, score: str | None = None, **more: Any
    ) -> Collector:
        if query is not None:
            raise CascadeError(
                option("query", query) + " names a field, but files of this format say themselves what their "
                "queries are; leave it out"
            )
        return collect(source, options, **more, **({} if score is None else {name: score}))

    return collected


EVALUATIONS: dict[str, tuple[Collect, Looks, tuple[str, ...]]] = {
    "lm-eval": (_own_queries(collect_lm_eval, "metric"), is_lm_eval, ("score", "pass_mark", "filter")),
    "inspect": (_own_queries(collect_inspect, "score"), is_inspect, ("score", "pass_mark")),
    "promptfoo": (_own_queries(collect_promptfoo, "score"), is_promptfoo, ("score", "pass_mark")),
    "routerbench": (
        _own_queries(collect_routerbench, "score"),
        is_routerbench,
        ("confidence", "confidence_kind", "pass_mark"),
    ),
}
