"""Tokens of a call in any provider's names, and what they cost."""

import pytest

from bayescascade.signals.prices import Prices, Tokens, tokens_of_usage

USAGES = {
    "OpenAI": {
        "prompt_tokens": 12,
        "completion_tokens": 2,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
    "OpenAI, newer": {"input_tokens": 12, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
    "LiteLLM": {"prompt_tokens": 12, "completion_tokens": 2, "cache_read_input_tokens": 4},
    "MLflow": {"input_tokens": 12, "output_tokens": 2, "total_tokens": 14, "cache_read_input_tokens": 4},
    "Anthropic": {
        "input_tokens": 5,
        "output_tokens": 2,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 3,
    },
    "Langfuse": {"input": 8, "input_cached_tokens": 4, "output": 1, "output_reasoning_tokens": 1, "total": 14},
    "both": {"input": 12, "input_tokens": 12, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
    "Langfuse, of Anthropic": {
        "input": 5,
        "output": 2,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 3,
        "total": 14,
    },
}


@pytest.mark.parametrize("name", USAGES)
def test_tokens_are_the_same_in_anybodys_names(name):
    assert tokens_of_usage(USAGES[name]) == Tokens(input=12.0, output=2.0, cached=4.0)


@pytest.mark.parametrize("name", USAGES)
def test_what_came_from_a_cache_has_its_own_price(name):
    prices = Prices({"m": (3.0, 10.0, 1.0)})
    assert prices.cost("m", None, USAGES[name]) == pytest.approx((8 * 3.0 + 4 * 1.0 + 2 * 10.0) / 1e6)
    assert prices.cost("m", None, USAGES[name], batch=True) == prices.cost("m", None, USAGES[name])
    batched = Prices({"m": (3.0, 10.0, 1.0)}, batch_discount=0.5)
    assert batched.cost("m", None, USAGES[name], batch=True) == pytest.approx((24 + 4 + 20) / 2e6)


def test_tokens_from_a_cache_that_have_no_price_are_counted():
    prices = Prices({"m": (3.0, 10.0)})
    assert prices.cost("m", None, USAGES["OpenAI"]) == pytest.approx((12 * 3.0 + 2 * 10.0) / 1e6)
    assert prices.cached_as_input == 4


WRONG = [
    None,
    {},
    {"prompt_tokens": "12"},
    {"prompt_tokens": -1},
    {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
    {"input": "8", "output": 2},
    {"input": 8, "input_cached_tokens": None, "output": float("nan"), "input_audio_tokens": "x"},
]


@pytest.mark.parametrize("usage", WRONG)
def test_what_says_no_number_of_tokens(usage):
    assert tokens_of_usage(usage) is None


def test_details_that_are_null_are_none():
    usage = {"input": 8, "input_cached_tokens": None, "output": 2, "inputCost": 0.1, "unit": "TOKENS"}
    assert tokens_of_usage(usage) == Tokens(8.0, 2.0, 0.0)
