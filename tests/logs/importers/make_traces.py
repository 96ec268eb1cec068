"""Writes the traces that the tests read, with the tools themselves, of calls of a small server on this machine.

    pip install 'litellm[proxy]' semver && pip install --no-deps litellm==1.110.2
    python tests/logs/importers/make_traces.py litellm          (with the word notebook: notebooks/traces)
    python tests/logs/importers/make_traces.py litellm-spend
    pip install mlflow==3.17.2 openai==3.57.0
    python tests/logs/importers/make_traces.py mlflow
    pip install arize-phoenix==20.26.1 openinference-instrumentation-openai==0.1.66 openai==3.57.0
    python tests/logs/importers/make_traces.py phoenix

Each tool in an environment of its own, because they do not agree on what they need. Two models are asked the same
sums, and one call of them fails. In ``files/traces`` are LiteLLM's logged payloads, and rows of its table of spend
logs as its proxy makes them; MLflow's traces with feedback, from its database; Phoenix's spans and annotations,
from its server. Langfuse has a script of its own, `make_langfuse.py`. Removed is what tells of this machine:
tracebacks, folders, who ran it.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers.model_server import serving

HERE = Path(__file__).parent / "files" / "traces"
NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "traces"
SUMS = 10
MODELS = {"gpt-4o-mini": "gpt-4o-mini-2024-07-18", "gpt-4o": "gpt-4o-2024-08-06"}  # as asked for, as it answers
SKILL = {"gpt-4o-mini": 2.0, "gpt-4o": 9.0}
FAILS = 3  # the question that the small model does not answer
ASKED = {"logprobs": True, "top_logprobs": 2}


def sums(count: int) -> list[str]:
    rng = random.Random(1)
    asked: dict[str, None] = {}  # each once
    while len(asked) < count:
        asked.setdefault(f"{rng.randint(2, 99)} + {rng.randint(2, 99)} =")
    return list(asked)


def truth(question: str) -> int:
    first, second = question.removesuffix(" =").split(" + ")
    return int(first) + int(second)


def reply(model: str) -> Callable[[str], dict[str, Any]]:
    """A model that adds, is sure of it more often when it is right, and says how sure it is."""

    def answer(question: str) -> dict[str, Any]:
        rng = random.Random(f"{model}/{question}")
        sure = rng.random() ** (1.0 / SKILL[model])
        text = str(truth(question) + (0 if rng.random() < sure else 1))
        tokens = [text[:1], text[1:]] if len(text) > 1 else [text]
        logprob, other = math.log(sure) / len(tokens), math.log1p(-(sure ** (1 / len(tokens)))) - 0.5
        content = [
            {
                "token": token,
                "logprob": logprob,
                "bytes": [*token.encode()],
                "top_logprobs": [
                    {"token": token, "logprob": logprob, "bytes": [*token.encode()]},
                    {"token": "0", "logprob": other, "bytes": [48]},
                ],
            }
            for token in tokens
        ]
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": {"content": content, "refusal": None},
        }
        return {
            "id": f"chatcmpl-{rng.getrandbits(64):x}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": MODELS[model],
            "choices": [choice],
            "usage": {
                "prompt_tokens": 12,
                "completion_tokens": len(tokens),
                "total_tokens": 12 + len(tokens),
                "prompt_tokens_details": {"cached_tokens": 4 if model == "gpt-4o" else 0},
            },
        }

    return answer


@contextlib.contextmanager
def servers() -> Iterator[dict[str, Any]]:
    """A server for each model, by its name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(serving(reply(name))) for name in MODELS}


def ask_all(models: dict[str, Any], question: str, number: int, ask: Callable[[str, list[Any]], Any]) -> None:
    """Ask both models the same; one answer is refused as a provider under load does."""
    for name in MODELS:
        if number == FAILS and name == "gpt-4o-mini":
            models[name].queue.append((429, {}))
        with contextlib.suppress(Exception):
            ask(name, [{"role": "user", "content": question}])


def client_of(models: dict[str, Any]) -> Callable[[str, list[Any]], Any]:
    """Asks by the client of OpenAI, whose calls tools trace."""
    import openai

    clients = {name: openai.OpenAI(base_url=models[name].url, api_key="none", max_retries=0) for name in MODELS}
    return lambda name, messages: clients[name].chat.completions.create(model=name, messages=messages, **ASKED)


def is_right(question: str, answer: str) -> bool:
    return answer.strip() == str(truth(question))


def text_of(response: dict[str, Any]) -> str:
    return str(response["choices"][0]["message"]["content"])


def write_lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_table(path: Path, names: list[str], rows: list[Any]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


# ---- LiteLLM


def litellm_payloads(count: int, router: bool) -> tuple[list[Any], list[Any]]:
    """What a logger of one's own is given, and the rows that the proxy keeps of the same calls."""
    import litellm
    from litellm.integrations.custom_logger import CustomLogger
    from litellm.proxy.spend_tracking.spend_tracking_utils import get_logging_payload

    payloads: list[Any] = []
    spent: list[Any] = []

    class Logger(CustomLogger):
        async def async_log_success_event(self, kwargs, response_obj, start_time, end_time) -> None:
            payloads.append(kwargs["standard_logging_object"])
            spent.append(get_logging_payload(kwargs, response_obj, start_time, end_time))

        async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time) -> None:
            payloads.append(kwargs["standard_logging_object"])

    async def run() -> None:
        with servers() as models:
            deployments = [
                {
                    "model_name": name,
                    "litellm_params": {
                        "model": f"openai/{name}",
                        "api_base": models[name].url,
                        "api_key": "none",
                        "max_retries": 0,
                    },
                }
                for name in MODELS
            ]
            proxy = litellm.Router(model_list=deployments, num_retries=0)
            for number, question in enumerate(sums(count)):
                for name in MODELS:
                    if number == FAILS and name == "gpt-4o-mini":
                        models[name].queue.append((429, {}))
                    own = {"model": f"openai/{name}", "api_base": models[name].url, "api_key": "none"}
                    call = proxy.acompletion if router else litellm.acompletion
                    asked = {"model": name} if router else {**own, "max_retries": 0}
                    with contextlib.suppress(litellm.RateLimitError):
                        await call(
                            messages=[{"role": "user", "content": question}],
                            metadata={"trace_id": f"sum-{number}"},
                            **asked,
                            **ASKED,
                        )
                await asyncio.sleep(0.05)
            await asyncio.sleep(2.0)  # logging comes after the answer

    litellm.callbacks = [Logger()]
    asyncio.run(run())
    payloads.sort(key=lambda row: row["startTime"])
    return payloads, spent


def litellm_files(count: int = SUMS, notebook: bool = False) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the prices that the package brings
    from litellm.litellm_core_utils.safe_json_dumps import safe_dumps

    payloads, _ = litellm_payloads(count, router=False)
    rows = [json.loads(safe_dumps(row)) for row in payloads]
    for row in rows:
        row["error_information"] = {**row["error_information"], "traceback": ""}
    grades = [
        (row["trace_id"], row["id"], int(is_right(row["messages"][0]["content"], text_of(row["response"]))))
        for row in rows
        if row["status"] == "success"
    ]
    folder = NOTEBOOK if notebook else HERE
    write_lines(folder / "litellm.jsonl.gz", rows)
    write_table(folder / "litellm-scores.csv", ["trace_id", "id", "correct"], grades)


def litellm_spend_files() -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["STORE_PROMPTS_IN_SPEND_LOGS"] = "true"  # else the table has no responses
    _, spent = litellm_payloads(SUMS, router=True)
    write_lines(HERE / "litellm-spend.jsonl.gz", [json.loads(json.dumps(row, default=str)) for row in spent])


# ---- MLflow


def mlflow_files() -> None:
    import mlflow
    from mlflow.entities import AssessmentSource

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), servers() as models:
        mlflow.set_tracking_uri("sqlite:///traces.db")
        mlflow.set_experiment("sums")
        mlflow.openai.autolog()
        ask = client_of(models)

        @mlflow.trace(name="question")
        def traced(question: str, number: int) -> None:
            ask_all(models, question, number, ask)

        for number, question in enumerate(sums(SUMS)):
            traced(question, number)
        mlflow.flush_trace_async_logging()
        source = AssessmentSource(source_type="CODE", source_id="sums")
        for trace in mlflow.search_traces(return_type="list"):
            for span in trace.data.spans:
                if span.span_type != "CHAT_MODEL" or not span.outputs:
                    continue
                right = is_right(span.inputs["messages"][0]["content"], text_of(span.outputs))
                known = {"trace_id": trace.info.trace_id, "span_id": span.span_id, "name": "correctness"}
                first = mlflow.log_feedback(**known, value=not right, source=source)
                mlflow.override_feedback(  # as one does who was wrong at first
                    trace_id=trace.info.trace_id, assessment_id=first.assessment_id, value=right, source=source
                )
        rows = [trace.to_dict() for trace in mlflow.search_traces(return_type="list")]
        for row in rows:
            row["info"]["tags"].pop("mlflow.artifactLocation", None)
            for name in ("mlflow.user", "mlflow.source.name"):
                row["info"]["trace_metadata"].pop(name, None)
            for span in row["data"]["spans"]:
                for event in span["events"]:
                    event["attributes"].pop("exception.stacktrace", None)
        write_lines(HERE / "mlflow.jsonl", rows)


# ---- Phoenix


@contextlib.contextmanager
def phoenix_server(folder: str, port: int = 6606) -> Iterator[str]:
    address = f"http://127.0.0.1:{port}"
    quiet = {
        "PHOENIX_WORKING_DIR": folder,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(port + 1),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    program = Path(sys.executable).with_name("phoenix")
    server = subprocess.Popen([program, "serve"], env={**os.environ, **quiet}, stdout=subprocess.DEVNULL)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/healthz").close()
                break
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def phoenix_files() -> None:
    from openinference.instrumentation.openai import OpenAIInstrumentor
    from phoenix.client import Client
    from phoenix.otel import register

    with tempfile.TemporaryDirectory() as folder, phoenix_server(folder) as address, servers() as models:
        provider = register(endpoint=f"{address}/v1/traces", project_name="sums", batch=False, verbose=False)
        OpenAIInstrumentor().instrument(tracer_provider=provider)
        tracer = provider.get_tracer("sums")
        ask = client_of(models)
        for number, question in enumerate(sums(SUMS)):
            with tracer.start_as_current_span("question"):
                ask_all(models, question, number, ask)
        time.sleep(5.0)  # the server writes what it is sent a little later
        client = Client(base_url=address)
        spans = client.spans.get_spans_dataframe(project_identifier="sums")
        for key, output in spans["attributes.output.value"].dropna().items():
            question = json.loads(spans.loc[key, "attributes.input.value"])["messages"][0]["content"]
            right = is_right(question, text_of(json.loads(output)))
            client.spans.add_span_annotation(
                span_id=key,
                annotation_name="correctness",
                annotator_kind="CODE",
                label="correct" if right else "incorrect",
                score=float(right),
            )
        time.sleep(5.0)
        scores = client.spans.get_span_annotations_dataframe(spans_dataframe=spans, project_identifier="sums")
        for event in (event for events in spans["events"] for event in events):
            event["attributes"]["exception.stacktrace"] = ""
        spans.to_parquet(HERE / "phoenix.parquet")
        scores.to_csv(HERE / "phoenix-annotations.csv")


TOOLS: dict[str, tuple[str, str, Callable[..., None]]] = {
    "litellm": ("litellm", "1.110.2", litellm_files),
    "litellm-spend": ("litellm", "1.110.2", litellm_spend_files),
    "mlflow": ("mlflow", "3.17.2", mlflow_files),
    "phoenix": ("arize-phoenix", "20.26.1", phoenix_files),
}


if __name__ == "__main__":
    package, wanted, write = TOOLS[sys.argv[1]]
    assert version(package) == wanted, version(package)
    HERE.mkdir(parents=True, exist_ok=True)
    write(150, notebook=True) if sys.argv[2:] == ["notebook"] else write()
