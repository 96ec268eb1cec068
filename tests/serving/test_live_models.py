"""A served cascade of live models: llama.cpp's own server behind ours, and OpenAI's client before it."""

import pytest
from helpers.llama_server import LETTERS, running
from helpers.served import served
from openai import OpenAI

import bayescascade as bc

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")


def test_a_served_cascade_of_two_live_models(tmp_path):
    messages = [[{"role": "user", "content": f"question number {i}?"}] for i in range(8)]
    with running(1, 2) as urls:
        with OpenAI(base_url=urls[0], api_key="none") as client:
            asked = {"model": "m", "logprobs": True, "top_logprobs": 5, "extra_body": LETTERS}
            found = [client.chat.completions.create(messages=each, **asked) for each in messages]
        confidences = [bc.confidence(response) for response in found]
        policy = bc.Policy(["small", "large"], [sorted(confidences)[4], float("-inf")], "logprob")
        stages = {
            name: bc.Endpoint(name, url, api_key_env=None, price=1.0, request=LETTERS)
            for name, url in zip(policy.stages, urls, strict=True)
        }
        with served(policy, stages) as server, OpenAI(base_url=server.url, api_key="none") as client:
            for each, response, confidence in zip(messages, found, confidences, strict=True):
                raw = client.chat.completions.with_raw_response.create(model="bayescascade", messages=each)
                sure = confidence >= policy.thresholds[0]
                assert raw.headers["x-cascade-stage"] == ("small" if sure else "large")
                answer = raw.parse().choices[0].message.content
                assert not sure or answer == response.choices[0].message.content
