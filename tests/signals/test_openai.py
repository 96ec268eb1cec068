"""What the client of OpenAI returns gives the confidence of the JSON that it was sent."""

import pytest

from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.confidence import SIGNALS, confidence
from bayescascade.signals.responses import text_of

openai = pytest.importorskip("openai", reason="no openai: its response objects were not tried")
httpx = pytest.importorskip("httpx2")

TOP = [{"token": "B", "logprob": -0.1, "bytes": [66]}, {"token": "A", "logprob": -2.4, "bytes": [65]}]
TOKENS = [
    {"token": "B", "logprob": -0.1, "bytes": [66], "top_logprobs": TOP},
    {"token": "ee", "logprob": -0.7, "bytes": [101, 101], "top_logprobs": []},
]
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
CHAT = {
    **{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE, "timings": {"ms": 3}},
    "choices": [
        {
            **{"index": 0, "finish_reason": "stop", "logprobs": {"content": TOKENS, "refusal": None}},
            "message": {"role": "assistant", "content": "Bee"},
        }
    ],
}
LEGACY = {
    **{"id": "c", "object": "text_completion", "created": 1, "model": "m", "usage": USAGE},
    "choices": [
        {
            **{"index": 0, "finish_reason": "stop", "text": "Bee"},
            "logprobs": {
                **{"tokens": ["B", "ee"], "token_logprobs": [-0.1, -0.7], "text_offset": [0, 1]},
                "top_logprobs": [{"B": -0.1, "A": -2.4}, {}],
            },
        }
    ],
}
PART = {"type": "output_text", "text": "Bee", "annotations": [], "logprobs": TOKENS}
NEWER = {
    **{"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "error": None},
    **{"tools": [], "tool_choice": "auto", "parallel_tool_calls": False, "incomplete_details": None},
    "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [PART]}],
}
OF_TOKENS = [name for name in SIGNALS if "logprob" in name or name.startswith(("first", "answer_"))]


def client(body):
    answer = httpx.MockTransport(lambda request: httpx.Response(200, json=body))
    http = openai.DefaultHttpxClient(transport=answer)
    return openai.OpenAI(api_key="none", base_url="http://localhost", http_client=http)


def ask(body):
    with client(body) as asked:
        if "output" in body:
            return asked.responses.create(model="m", input="Bee?")
        if body["object"] == "chat.completion":
            return asked.chat.completions.create(model="m", messages=[{"role": "user", "content": "Bee?"}])
        return asked.completions.create(model="m", prompt="Bee?")


@pytest.mark.parametrize("body", [CHAT, LEGACY, NEWER], ids=["chat", "legacy", "newer"])
def test_objects_say_what_their_json_says(body):
    response = ask(body)
    assert not isinstance(response, dict)
    assert text_of(response) == text_of(body) == "Bee"
    for signal in OF_TOKENS:
        assert confidence(response, signal) == confidence(body, signal) == confidence(CHAT, signal)
    assert confidence(response) == pytest.approx(-0.4)


def test_parts_and_samples_of_an_object():
    response = ask(CHAT)
    for part in (response.choices[0], response.choices[0].logprobs, response.choices[0].logprobs.content):
        assert confidence(part) == confidence(CHAT)
    assert confidence([response, ask(LEGACY), "B"], "agreement") == 2 / 3


def test_an_object_without_log_probabilities():
    (choice,) = CHAT["choices"]
    with pytest.raises(NoConfidence) as caught:
        confidence(ask(CHAT | {"choices": [choice | {"logprobs": None}]}))
    assert caught.value.reason == absent.NO_LOGPROBS
