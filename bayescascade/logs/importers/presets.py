"""Where the tools that trace calls of language models put what a log needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Names = tuple[str, ...]  # the first one that is there counts; points lead into nested values


@dataclass(frozen=True)
class Fields:
    """Names of the columns of a table of calls, and of that of their scores.

    Attributes
    ----------
    query, call : names
        What joins the calls of one query, usually a trace; what names the call itself, usually a span.
    model, response, cost, latency, usage : names
        ``response`` holds the response as JSON; ``latency`` is in seconds.
    start, end : names
        When the call began and ended, which gives the latency where there is none.
    error : names
        Holds something where the call failed; a status such as "success", "ok" and "unset" is no error.
    tokens : pair of names
        Of the tokens sent and answered, where neither the response nor ``usage`` has them.
    within : names
        A list of rows in a row, such as the spans of a trace.
    scores : names
        A list of scores in a row, of the fields that a table of scores has.
    score_key, score_name, score_value : names
        Of the table of scores: the trace or the call that it is of, what is scored, and the score.
    known_price : names
        What a tool knows of the model's price; where it is null, a cost of 0 is none.
    marks : names
        Fields that no other format has.
    only : mapping
        Field to values: rows that have another one are no calls.
    """

    query: Names = ("query", "trace_id", "id")
    call: Names = ("id",)
    model: Names = ("model",)
    response: Names = ("response",)
    cost: Names = ("cost",)
    latency: Names = ("latency",)
    usage: Names = ("usage",)
    start: Names = ()
    end: Names = ()
    error: Names = ("error",)
    tokens: tuple[Names, Names] = (("prompt_tokens",), ("completion_tokens",))
    within: Names = ()
    scores: Names = ()
    score_key: Names = ("query", "trace_id", "id")
    score_name: Names = ("name",)
    score_value: Names = ("correct", "score", "value")
    known_price: Names = ()
    marks: Names = ()
    only: Mapping[str, Names] = field(default_factory=dict)


PRESETS: dict[str, Fields] = {
    # litellm/types/utils.py, StandardLoggingPayload; the table LiteLLM_SpendLogs
    "litellm": Fields(
        query=("trace_id", "session_id"),
        call=("id", "request_id"),
        model=("model_group", "model"),
        cost=("response_cost", "spend"),
        latency=("response_time",),
        start=("startTime",),
        end=("endTime",),
        error=("error_str", "status"),
        score_key=("id", "request_id", "trace_id", "session_id"),
        known_price=("model_map_information.model_map_value", "metadata.model_map_information.model_map_value"),
        marks=("response_cost", "spend"),
    ),
    # observations and scores of the public API, and of the export to blob storage
    "langfuse": Fields(
        query=("traceId", "trace_id"),
        call=("id",),
        response=("output",),
        cost=("totalCost", "total_cost", "calculatedTotalCost"),
        model=("model", "providedModelName", "provided_model_name"),
        usage=("usageDetails", "usage_details"),
        start=("startTime", "start_time"),
        end=("endTime", "end_time"),
        error=("level",),
        score_key=("observationId", "observation_id", "traceId", "trace_id", "subject.id"),
        score_value=("value",),
        marks=("costDetails", "cost_details", "usageDetails", "usage_details"),
        only={"type": ("GENERATION",)},
    ),
    # openinference-semantic-conventions; columns of Phoenix's get_spans_dataframe
    "phoenix": Fields(
        query=("context.trace_id", "trace_id"),
        call=("context.span_id", "span_id"),
        # as it was asked for, which a call that failed has, too
        model=("attributes.llm.invocation_parameters.model", "attributes.llm.model_name"),
        response=("attributes.output.value",),
        cost=("attributes.llm.cost.total",),
        tokens=(("attributes.llm.token_count.prompt",), ("attributes.llm.token_count.completion",)),
        start=("start_time",),
        end=("end_time",),
        error=("status_code",),
        score_key=("span_id", "context.span_id", "trace_id", "context.trace_id"),
        score_name=("annotation_name", "annotation.name", "name"),
        score_value=("result.score", "annotation.score", "score"),
        marks=("attributes.llm.model_name", "attributes.openinference.span.kind"),
        only={"span_kind": ("LLM",), "attributes.openinference.span.kind": ("LLM",)},
    ),
    # mlflow/tracing/constant.py, SpanAttributeKey; Trace.to_dict
    "mlflow": Fields(
        query=("trace_id", "info.trace_id", "request_id"),
        call=("span_id",),
        model=("attributes.model", "attributes.mlflow.llm.model"),
        response=("attributes.mlflow.spanOutputs", "outputs"),
        cost=("attributes.mlflow.llm.cost.total_cost", "attributes.mlflow.llm.cost"),
        usage=("attributes.mlflow.chat.tokenUsage",),
        start=("start_time_unix_nano",),
        end=("end_time_unix_nano",),
        error=("status.code", "status_code"),
        within=("data.spans", "spans"),
        scores=("info.assessments", "assessments"),
        score_key=("span_id", "trace_id"),
        score_name=("assessment_name", "name"),
        score_value=("feedback.value", "value"),
        marks=("data.spans", "attributes.mlflow.spanOutputs", "spans"),
        only={"attributes.mlflow.spanType": ("CHAT_MODEL", "LLM")},
    ),
}
