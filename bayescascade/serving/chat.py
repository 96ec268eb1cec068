"""Chat completions as they come over the wire, and as they go back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError
from bayescascade.runtime.endpoint import Messages, check_messages
from bayescascade.runtime.result import Result
from bayescascade.serving.refusals import Refused

ABSTAINED = "The cascade gives no answer, because it is not sure enough of any that it can pay for."

_PLAIN = " !#$&'()*+,/:;=?@[]^`{|}"  # what a header may hold as it is

_READ = {"model", "messages", "stream"}
# What changes how a model answers. The thresholds hold for the requests that they were tuned with.
_NOT_APPLIED = {
    "frequency_penalty",
    "max_completion_tokens",
    "max_tokens",
    "presence_penalty",
    "reasoning_effort",
    "seed",
    "temperature",
    "top_p",
    "verbosity",
}
# What says nothing of the answer.
_NEUTRAL = {
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
}
# What a client would wait for in vain.
_REFUSED = {
    "audio": "the answer is text",
    "function_call": "the answer is text, and no call of a function",
    "functions": "the answer is text, and no call of a function",
    "logit_bias": "the thresholds were tuned without",
    "logprobs": "the answer has no log-probabilities, since several models may have been asked",
    "prediction": "the thresholds were tuned without",
    "response_format": "the answer is text as the models write it",
    "stop": "the thresholds were tuned for whole answers",
    "tool_choice": "the answer is text, and no call of a tool",
    "tools": "the answer is text, and no call of a tool",
    "top_logprobs": "the answer has no log-probabilities, since several models may have been asked",
    "web_search_options": "the thresholds were tuned without",
}
# Values that ask for no more than there is.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "tool_choice": ("none",),
    "function_call": ("none",),
}


@dataclass(frozen=True)
class ChatRequest:
    """What a client asks for.

    Attributes
    ----------
    messages : list of dict
    stream : bool
        Whether the answer is wanted in chunks.
    not_applied : list of str
        Fields that have no effect, since the endpoints' own settings hold.
    """

    messages: Messages
    stream: bool
    not_applied: list[str]


def read_request(body: bytes, model: str) -> ChatRequest:
    """A request for a chat completion; raises `Refused` where it asks for what a cascade cannot give.

    Examples
    --------
    >>> body = b'{"model": "bayescascade", "messages": [{"role": "user", "content": "1 + 1?"}], "top_p": 1}'
    >>> read_request(body, "bayescascade").not_applied
    ['top_p']
    """
    fields = _object(body)
    given = {name: value for name, value in fields.items() if value is not None}
    if "model" not in given:
        raise _wrong("model", f"there is no model; this server has {model!r}")
    check_model(given["model"], model)
    unknown = sorted(given.keys() - _READ - _NOT_APPLIED - _NEUTRAL - _REFUSED.keys() - {"n", "modalities"})
    if unknown:
        raise _wrong(unknown[0], f"unknown field {listed(unknown)}; take it out", "unknown_parameter")
    check_fields(given)
    stream = given.get("stream", False)
    if not isinstance(stream, bool):
        raise _wrong("stream", f"stream should be true or false but is {show(stream)}")
    return ChatRequest(_messages(given), stream, sorted(given.keys() & _NOT_APPLIED))


def check_fields(given: Mapping[str, Any]) -> None:
    """Raise `Refused` where a request asks for what a cascade cannot give.

    Examples
    --------
    >>> check_fields({"n": 2})
    Traceback (most recent call last):
    ...
    bayescascade.serving.refusals.Refused: n is 2, but a cascade gives one answer; leave n out
    """
    if given.get("n", 1) != 1 or given.get("n") is True:
        raise _unsupported("n", f"n is {show(given['n'])}, but a cascade gives one answer; leave n out")
    if given.get("modalities", ["text"]) != ["text"]:
        raise _unsupported("modalities", "a cascade answers in text; leave modalities out")
    for name, why in _REFUSED.items():
        if given.get(name) and given[name] not in _HARMLESS.get(name, ()):
            raise _unsupported(name, f"a cascade does not take {name}: {why}; leave {name} out")


def completion(result: Result, model: str, policy_id: str, created: int) -> dict[str, Any]:
    """A chat completion; a cascade that abstained has a refusal in place of the content.

    Examples
    --------
    >>> result = Result("q1", "4", "small", "accept", {"small": 0.9}, 1e-4, 0.2, [])
    >>> completion(result, "bayescascade", "0a1b", 0)["choices"][0]["message"]["content"]
    '4'
    """
    choice = {
        "index": 0,
        "message": {"role": "assistant", **_said(result)},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return {**_head("chat.completion", result, model, policy_id, created), "choices": [choice]}


def events(result: Result, model: str, policy_id: str, created: int) -> Iterator[bytes]:
    """The same as events of a stream: the role, the whole answer, the end.

    Examples
    --------
    >>> result = Result("q1", "4", "small", "accept", {"small": 0.9}, 1e-4, 0.2, [])
    >>> list(events(result, "bayescascade", "0a1b", 0))[-1]
    b'data: [DONE]\\n\\n'
    """
    head = _head("chat.completion.chunk", result, model, policy_id, created)
    said = {name: text for name, text in _said(result).items() if text is not None}
    deltas: list[dict[str, Any]] = [{"role": "assistant"}, said, {}]
    for delta in deltas:
        end = "stop" if delta is deltas[-1] else None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def headers_of(result: Result, policy_id: str) -> dict[str, str]:
    """What became of a query, as headers; the cost only if it is known.

    Examples
    --------
    >>> result = Result("q1", "4", "small", "accept", {"small": 0.9}, 1e-4, 0.2, [])
    >>> headers_of(result, "0a1b")["x-cascade-cost"]
    '0.0001'
    """
    headers = {
        "x-cascade-stage": quote(result.stage, safe=_PLAIN),
        "x-cascade-decision": result.decision,
        "x-cascade-policy": policy_id,
        "x-cascade-query": result.query,
    }
    return headers if math.isnan(result.cost) else {**headers, "x-cascade-cost": repr(result.cost)}


def _head(kind: str, result: Result, model: str, policy_id: str, created: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{result.query}",
        "object": kind,
        "created": created,
        "model": model,
        "system_fingerprint": f"policy-{policy_id}",
    }


def _said(result: Result) -> dict[str, str | None]:
    if result.answer is None:
        return {"content": None, "refusal": ABSTAINED}
    return {"content": result.answer, "refusal": None}


# ---- what came


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "the request is not JSON; send an object with model and messages") from None
    if not isinstance(found, dict):
        raise Refused(400, f"the request should be a JSON object but is {show(found)}")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(text)  # NaN and Infinity, which JSON does not have


def check_model(name: Any, model: str) -> None:
    """Raise `Refused` unless the model is the one that is served."""
    if name != model:
        raise Refused(
            404,
            f"there is no model {show(name)}; this server has {model!r}",
            code="model_not_found",
            param="model",
        )


def _messages(given: Mapping[str, Any]) -> Messages:
    messages = given.get("messages")
    if not isinstance(messages, list):
        raise _wrong("messages", f"messages should be a list but is {show(messages)}")
    try:
        return check_messages(messages)
    except CascadeError as error:
        raise _wrong("messages", str(error)) from None


def _wrong(param: str, message: str, code: str = "invalid_value") -> Refused:
    return Refused(400, message, code=code, param=param)


def _unsupported(param: str, message: str) -> Refused:
    return Refused(400, message, code="unsupported_parameter", param=param)
