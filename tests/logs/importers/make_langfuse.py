"""Writes what the tests read of Langfuse: as its client traces calls, and its server would give them again.

    pip install langfuse==5.0.4 openai==3.57.0
    python tests/logs/importers/make_langfuse.py

Langfuse's server needs three databases, so it does not run here. Its client traces the calls of `make_traces.py`,
and what the API of the server would make of them is built from the client's own classes, so the fields are the
package's. How the server counts tokens is taken from its source.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from make_traces import ASKED, HERE, MODELS, SUMS, ask_all, is_right, servers, sums, text_of, write_lines

VERSION = "5.0.4"
PRICES = {"gpt-4o-mini": (0.15e-6, 0.075e-6, 0.6e-6), "gpt-4o": (2.5e-6, 1.25e-6, 10e-6)}  # sent, cached, answered


def main() -> None:
    import openai
    from langfuse import Langfuse
    from langfuse.api.scores.types.boolean_score_v3 import BooleanScoreV3
    from langfuse.api.scores.types.score_subject_v3 import ScoreSubjectV3_Observation
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    client = Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9", span_exporter=kept)

    def observations(ask: Callable[[dict[str, Any], str, list[Any]], Any], count: int) -> list[dict[str, Any]]:
        kept.clear()
        with servers() as models:
            for number, question in enumerate(sums(count)):
                with client.start_as_current_observation(name="question", as_type="span"):
                    ask_all(models, question, number, functools.partial(ask, models))
        client.flush()
        return [observation(span) for span in kept.get_finished_spans()]

    def whole(models: dict[str, Any], name: str, messages: list[Any]) -> None:
        """As one logs the response as it came."""
        plain = openai.OpenAI(base_url=models[name].url, api_key="none", max_retries=0)
        with client.start_as_current_observation(
            name="answer", as_type="generation", model=name, input=messages
        ) as generation:
            response = plain.chat.completions.create(model=name, messages=messages, **ASKED)
            generation.update(output=response.model_dump(), usage_details=response.usage.model_dump())

    def wrapped(models: dict[str, Any], name: str, messages: list[Any]) -> None:
        """As Langfuse's own wrapper of the client logs it: the message alone."""
        from langfuse.openai import OpenAI  # not before, because it changes every client

        traced = OpenAI(base_url=models[name].url, api_key="none", max_retries=0)
        traced.chat.completions.create(model=name, messages=messages, **ASKED)

    rows = observations(whole, SUMS)
    write_lines(HERE / "langfuse.jsonl", rows)
    write_lines(HERE / "langfuse-wrapped.jsonl", observations(wrapped, 2))
    known = {"project_id": "sums", "name": "correctness", "source": "API", "environment": "default"}
    scores = [
        BooleanScoreV3(
            id=f"score-{row['id']}",
            value=is_right(json.loads(row["input"])[0]["content"], text_of(json.loads(row["output"]))),
            subject=ScoreSubjectV3_Observation(id=row["id"], trace_id=row["traceId"]),
            **known,
            **dict.fromkeys(("timestamp", "created_at", "updated_at"), row["endTime"]),
        )
        for row in rows
        if row.get("output")
    ]
    write_lines(HERE / "langfuse-scores.jsonl", [json.loads(score.json()) for score in scores])


def observation(span: Any) -> dict[str, Any]:
    """What the API of Langfuse's server gives of a span, in the client's own class."""
    from langfuse.api.commons.types.observation_v2 import ObservationV2

    found = {name.removeprefix("langfuse.observation."): value for name, value in span.attributes.items()}
    model = found.get("model.name")
    priced = next((name for name, dated in MODELS.items() if model in (name, dated)), None)
    usage = langfuse_usage(json.loads(found.get("usage_details", "{}")))
    costs = {}
    if usage and priced:
        sent, cached, answered = PRICES[priced]
        costs = {
            "input": usage["input"] * sent,
            "input_cached_tokens": usage.get("input_cached_tokens", 0) * cached,
            "output": usage["output"] * answered,
        }
        costs["total"] = sum(costs.values())
    start, end = (
        datetime.datetime.fromtimestamp(time / 1e9, datetime.UTC) for time in (span.start_time, span.end_time)
    )
    made = ObservationV2(
        id=f"{span.context.span_id:016x}",
        trace_id=f"{span.context.trace_id:032x}",
        start_time=start,
        end_time=end,
        project_id="sums",
        parent_observation_id=f"{span.parent.span_id:016x}" if span.parent else None,
        type=found["type"].upper(),
        name=span.name,
        level=found.get("level", "DEFAULT" if span.status.is_ok or span.status.is_unset else "ERROR"),
        status_message=found.get("status_message", span.status.description),
        input=found.get("input"),  # texts, as the API has them
        output=found.get("output"),
        model=model,
        usage_details=usage,
        cost_details=costs,
        total_cost=costs.get("total"),
        latency=(end - start).total_seconds(),
    )
    return dict(json.loads(made.json()))


def langfuse_usage(usage: dict[str, Any]) -> dict[str, int]:
    """As the server counts tokens: those of a detail, such as a cache, are no part of ``input`` or ``output``.

    Source: langfuse/langfuse, packages/shared/src/server/ingestion/types.ts, OpenAICompletionUsageSchema.
    """
    if not usage:
        return {}
    made = {"total": usage["total_tokens"]}
    for name, tokens in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        details = {
            key: value for key, value in (usage.get(f"{tokens}_details") or {}).items() if value is not None
        }
        made[name] = max(usage[tokens] - sum(details.values()), 0)
        made |= {f"{name}_{key}": value for key, value in details.items()}
    return made


if __name__ == "__main__":
    assert version("langfuse") == VERSION, version("langfuse")
    main()
