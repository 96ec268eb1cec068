"""Endpoints: what is allowed, what a response stands for, and that no key is shown."""

import math

import pytest
from helpers.model_server import completion

from bayescascade import CascadeError, Endpoint


@pytest.mark.parametrize("key", ["sk-SENTINEL-0123456789", "0123456789abcdef", "gsk_abcDEF0123"])
def test_a_key_where_its_name_belongs(key):
    with pytest.raises(CascadeError, match="and never the key") as caught:
        Endpoint("m", api_key_env=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://user:secret@host/v1"}, "holds a user, a password or a query"),
        ({"signal": "p_true"}, "it needs more than one response"),
        ({"signal": "nothing"}, "unknown signal"),
        ({"timeout": 0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
        ({"on_failure": "accept"}, "on_failure='accept'"),
        ({"request": {"stream": True}}, "which the runner sets itself"),
        ({"request": {"extra_headers": {"Authorization": "secret"}}}, "which the runner sets itself"),
        ({"request": {"seed": object()}}, "what JSON cannot"),
        ({"price": "dear"}, "should be a number"),
        ({"model": ""}, "model=''"),
    ],
)
def test_endpoints_that_cannot_be(options, sentence):
    with pytest.raises(CascadeError, match=sentence) as caught:
        Endpoint(**{"model": "m", **options})
    assert "secret" not in str(caught.value)


def test_what_a_call_costs_before_it_is_made():
    assert Endpoint("m").expected is None
    assert Endpoint("m", price=0.5).expected == 0.5
    assert Endpoint("m", price=(1.0, 2.0)).expected is None
    assert Endpoint("m", price=(1.0, 2.0), expected_cost=0.25).expected == 0.25


def test_the_price_of_tokens_from_a_cache():
    response = completion("B", -0.1)
    response["usage"] = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 60},
    }
    reply = Endpoint("m", price=(2.0, 3.0, 0.5)).read(response)
    assert reply.cost == pytest.approx((40 * 2.0 + 60 * 0.5 + 10 * 3.0) / 1e6)


def test_a_cost_that_is_not_known():
    response = completion("B", -0.1)
    del response["usage"]
    assert math.isnan(Endpoint("m", price=(2.0, 3.0)).read(response).cost)
    assert math.isnan(Endpoint("m").read(completion("B", -0.1)).cost)


def test_signals_in_words_ask_for_no_log_probabilities():
    endpoint = Endpoint("m", signal="verbalised")
    assert endpoint.kind == "percent"
    assert "logprobs" not in endpoint._request("How sure are you?")
    assert endpoint.read(completion("B. Confidence: 85", None)).confidence == 85.0


def test_options_of_the_signal():
    response = completion("B", -0.1)
    response["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = [
        {"token": "B", "logprob": math.log(0.6)},
        {"token": "A", "logprob": math.log(0.2)},
    ]
    response["choices"][0]["logprobs"]["content"][0]["logprob"] = math.log(0.6)
    endpoint = Endpoint("m", signal="answer_probability", signal_options={"answers": ["A", "B"]})
    assert endpoint.read(response).confidence == pytest.approx(0.75)
