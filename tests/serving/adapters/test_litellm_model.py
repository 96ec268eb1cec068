"""Cascades as a provider of LiteLLM, asked through LiteLLM."""

import asyncio
import math
import os
import warnings

import pytest
from helpers.model_server import completion, serving

from bayescascade import Cascade, CascadeError, Endpoint, Policy

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing it asks a server for prices
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("litellm", reason="the adapter of LiteLLM needs litellm")
    import litellm

    from bayescascade.serving.adapters.litellm_model import CascadeProvider

pytestmark = pytest.mark.filterwarnings("ignore")
POLICY = Policy(["small", "large"], [-0.5, -math.inf], "logprob", reject=[-2.0, -math.inf])
HIDDEN = "http://127.0.0.1"


@pytest.fixture
def large(monkeypatch):
    by_prompt = serving(lambda prompt: completion("A", float(prompt)))
    with by_prompt as small, serving(lambda prompt: completion("L", -0.2)) as large:
        common = {"api_key_env": None, "retries": 0}
        stages = {
            "small": Endpoint("m", small.url, price=1.0, **common),
            "large": Endpoint("m", large.url, price=5.0, **common),
        }
        provider = CascadeProvider({"policy.json": Cascade(POLICY, stages)})
        entry = {"provider": "bayescascade", "custom_handler": provider}
        monkeypatch.setattr(litellm, "custom_provider_map", [entry])
        monkeypatch.setattr(litellm, "num_retries", 0)
        litellm.utils.custom_llm_setup()
        yield large
        provider.close()


def request(prompt, **more):
    messages = [{"role": "user", "content": prompt}]
    return {"model": "bayescascade/policy.json", "messages": messages, "max_retries": 0, **more}


def test_answers(large):
    for prompt, text, stage, cost in (("-0.1", "A", "small", 1.0), ("-0.9", "L", "large", 6.0)):
        for response in (
            litellm.completion(**request(prompt)),
            asyncio.run(litellm.acompletion(**request(prompt, temperature=0.2))),
        ):
            assert response.choices[0].message.content == text
            assert response._hidden_params["additional_headers"]["llm_provider-x-cascade-stage"] == stage
            assert response._hidden_params["response_cost"] == cost


def test_streams(large):
    chunks = list(litellm.completion(**request("-0.9", stream=True)))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "L"
    assert chunks[-1].choices[0].finish_reason == "stop"

    async def streamed():
        found = await litellm.acompletion(**request("-0.1", stream=True))
        return [chunk async for chunk in found]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in asyncio.run(streamed())) == "A"


def test_abstention(large):
    message = litellm.completion(**request("-3.0")).choices[0].message
    assert message.content is None
    assert message.provider_specific_fields["refusal"].startswith("The cascade gives no answer")


def test_failures_say_nothing_of_endpoints(large):
    large.reply = lambda prompt: completion("L", None)
    with pytest.raises(litellm.BadGatewayError) as caught:
        litellm.completion(**request("-0.9"))
    assert "no stage gave an answer" in str(caught.value)
    assert HIDDEN not in str(caught.value)
    assert caught.value.status_code == 502


@pytest.mark.parametrize(
    ("more", "error", "fragment"),
    [
        ({"n": 2}, litellm.BadRequestError, "a cascade gives one answer"),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            litellm.BadRequestError,
            "does not take tools",
        ),
        ({"model": "bayescascade/other"}, litellm.NotFoundError, "there is no cascade 'other'"),
    ],
)
def test_what_is_refused(large, more, error, fragment):
    with pytest.raises(error, match=fragment):
        litellm.completion(**request("-0.1", **more))


@pytest.mark.parametrize("cascades", [{}, None, {"a": POLICY}])
def test_cascades_that_are_none(cascades):
    with pytest.raises(CascadeError, match="give a Cascade under each name"):
        CascadeProvider(cascades)
