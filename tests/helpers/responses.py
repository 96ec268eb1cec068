"""Files of responses as the client of OpenAI gives them, of the answers that the embedded example log holds.

Every query is a question of multiple choice. A stage's answer is one token, and its probability is the log's
confidence.
"""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
from openai.types import Completion, CompletionUsage
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

LETTERS = "ABCD"
MODELS = {"small": "gpt-small-2026-08-01", "medium": "gpt-medium-2026-08-01", "large": "gpt-large-2026-08-01"}


def gold(n):
    """True answers of queries."""
    return [LETTERS[place] for place in np.random.default_rng(11).integers(0, 4, n)]


def answers(log):
    """What each stage answers, as right or wrong as the log says: (query, stage)."""
    true, rng = gold(log.sizes["query"]), np.random.default_rng(12)
    wrong = [[letter for letter in LETTERS if letter != right] for right in true]
    return [
        [true[i] if right == 1.0 else wrong[i][rng.integers(3)] for right in row]
        for i, row in enumerate(log["correct"].values)
    ]


def chat_completion(text, probability, model="gpt-small-2026-08-01", prompt_tokens=120, cached_tokens=0):
    """A chat completion of one token, with what it says of the other letters."""
    others = [letter for letter in LETTERS if letter != text]
    logprob = math.log(probability)
    rest = math.log(max(1.0 - probability, 1e-9) / 3)
    top = [{"token": text, "logprob": logprob, "bytes": [ord(text)]}]
    top += [{"token": letter, "logprob": rest, "bytes": [ord(letter)]} for letter in others]
    top.sort(key=lambda item: -item["logprob"])
    return ChatCompletion.model_validate(
        {
            "id": "chatcmpl-" + text + str(prompt_tokens),
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                    "logprobs": {
                        "content": [{"token": text, "logprob": logprob, "bytes": [ord(text)], "top_logprobs": top}]
                    },
                }
            ],
            "usage": CompletionUsage.model_validate(
                {
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": 1,
                    "total_tokens": prompt_tokens + 1,
                    "prompt_tokens_details": {"cached_tokens": cached_tokens},
                }
            ),
        }
    )


def legacy_completion(text, logprobs, model="old"):
    """A completion of the older interface, with its tokens' log-probabilities."""
    tokens = [text, *"." * (len(logprobs) - 1)]
    return Completion.model_validate(
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1_790_000_000,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "text": "".join(tokens),
                    "logprobs": {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": None},
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": len(tokens), "total_tokens": 7 + len(tokens)},
        }
    )


def newer_response(text, logprobs, model="new"):
    """A response of the newer interface, which has a list of outputs."""
    tokens = [text, *"." * (len(logprobs) - 1)]
    items = [
        {"token": token, "bytes": [*token.encode()], "logprob": logprob, "top_logprobs": []}
        for token, logprob in zip(tokens, logprobs, strict=True)
    ]
    content = [{"type": "output_text", "text": "".join(tokens), "annotations": [], "logprobs": items}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    details = {
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return Response.model_validate(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1_790_000_000.0,
            "model": model,
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {"input_tokens": 7, "output_tokens": len(tokens), "total_tokens": 9, **details},
        }
    )


def in_batch(key, response, status=200):
    """A line of a batch's output."""
    body = response if isinstance(response, dict) else response.model_dump(mode="json")
    return {
        "id": f"batch_req_{key}",
        "custom_id": key,
        "response": {"status_code": status, "request_id": f"req_{key}", "body": body},
        "error": None,
    }


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), encoding="utf-8")
    return path


def write_example(log, folder, batch=True):
    """A file of responses for each stage of a log, and a table of the true answers; (paths by stage, path)."""
    given, files = answers(log), {}
    for j, stage in enumerate(log["stage"].values.tolist()):
        lines = []
        for i, query in enumerate(log["query"].values.tolist()):
            response = chat_completion(given[i][j], float(log["confidence"][i, j]), MODELS[stage], 100 + i % 40)
            key = f"q{query:04d}"
            lines.append(in_batch(key, response) if batch else {"query": key, "response": response.model_dump()})
        files[stage] = write_lines(folder / f"{stage}.jsonl", lines)
    labels = folder / "gold.csv"
    rows = (
        f"q{query:04d},{true}\n"
        for query, true in zip(log["query"].values.tolist(), gold(log.sizes["query"]), strict=True)
    )
    labels.write_text("query,answer\n" + "".join(rows), encoding="utf-8")
    return files, labels


def write_packed(log, folder):
    """The example's files as the notebook and the README have them: packed, with some calls that failed."""
    files, labels = write_example(log, folder)
    for number, path in enumerate(files.values()):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for place in range(7 + number, 300, 97):
            lines[place] = in_batch(lines[place]["custom_id"], {"error": {"code": "rate_limit_exceeded"}}, 429)
        lines[50 + number]["response"]["body"]["choices"][0]["logprobs"] = None
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(content, mtime=0))
        path.unlink()
    return labels
