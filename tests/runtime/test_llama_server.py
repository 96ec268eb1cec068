"""A cascade of live models: llama.cpp's own server, with its own log-probabilities."""

import asyncio
import json

import pytest
from helpers.llama_server import LETTERS, running
from openai import OpenAI

import bayescascade as bc

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def urls():
    with running(1, 2) as found:
        yield found


def test_a_cascade_of_two_live_models(urls, tmp_path):
    prompts = {f"q{i}": f"question number {i}?" for i in range(12)}
    asked = []
    for url in urls:
        with OpenAI(base_url=url, api_key="none") as client:
            asked.append({query: respond(client, prompt) for query, prompt in prompts.items()})
    expected = [{query: bc.confidence(response) for query, response in each.items()} for each in asked]
    threshold = sorted(expected[0].values())[6]
    policy = bc.Policy(["small", "large"], [threshold, float("-inf")], "logprob")
    stages = {
        name: bc.Endpoint(name, url, api_key_env=None, price=(1.0, 2.0), request=LETTERS)
        for name, url in zip(policy.stages, urls, strict=True)
    }
    path = tmp_path / "log.jsonl"

    async def run():
        async with bc.Cascade(policy, stages, log=path, concurrency=2) as cascade:
            return await asyncio.gather(*(cascade.answer(text, query) for query, text in prompts.items()))

    results = asyncio.run(run())
    assert sorted(result.stage for result in results) == ["large"] * 6 + ["small"] * 6
    for result in results:
        place = policy.stages.index(result.stage)
        assert (result.stage == "small") == (expected[0][result.query] >= threshold)
        assert result.answer == asked[place][result.query].choices[0].message.content
        assert result.cost > 0.0
    for line in map(json.loads, path.read_text().splitlines()):
        place = policy.stages.index(line["stage"])
        # a cache may order the sums of a forward pass otherwise
        assert line["confidence"] == pytest.approx(expected[place][line["query"]], abs=1e-4)


def respond(client, prompt):
    messages = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(
        model="m", messages=messages, logprobs=True, top_logprobs=5, extra_body=LETTERS
    )
