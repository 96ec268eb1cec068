"""Names of stages where space is short."""

import pytest

from bayescascade.display.names import short_name

SIZES = ("3.2-1b", "3.2-3b", "3.1-8b", "3.1-70b", "3.1-405b")


def shorts(names, length=28):
    return [short_name(name, length, names) for name in names]


def test_what_tells_long_names_apart_stays():
    names = [f"meta-llama/Meta-Llama-{size}-Instruct-Turbo-eu-west-1" for size in SIZES]
    assert shorts(names) == list(SIZES)
    assert shorts(names, 14) == list(SIZES)


def test_short_names_stay_as_they_are():
    names = ["gpt-small", "gpt-large"]
    assert shorts(names) == names
    assert shorts(["openai/gpt-small", "azure/gpt-large"]) == names
    assert shorts(["openai/gpt-4", "azure/gpt-4"]) == ["openai/gpt-4", "azure/gpt-4"]


@pytest.mark.parametrize("length", [8, 14, 28])
@pytest.mark.parametrize(
    "names",
    [
        ["x" * 60 + end for end in "abc"],
        [start + "x" * 60 for start in "abc"],
        ["x" * 30 + letter + "x" * 30 for letter in "abc"],
        ["a-" * 30 + "b", "a-" * 30 + "c", "a-" * 29],
        ["large", "the-very-large-one-that-nobody-can-pay-large", "-large"],
        ["/", "//", "a/" * 20],
    ],
)
def test_no_two_are_the_same_and_none_is_too_long(names, length):
    found = shorts(names, length)
    assert len(set(found)) == len(names)
    assert all(0 < len(name) <= length for name in found)


def test_a_name_alone_is_only_cut():
    assert short_name("a-b-" * 20, 10) == "a-b-a-b-a…"
