"""Policies on disk, damaged and made up: one that is read decides and comes back, anything else is a sentence."""

import json

import numpy as np
import pytest
from helpers.fuzz import accepted, damaged, fuzzed
from hypothesis import strategies as st

from bayescascade.runtime.policy import Policy
from bayescascade.signals.kinds import KINDS

WHOLE = Policy(
    ["small", 'größte "8b"', "large"],
    [0.8, 0.25, -np.inf],
    "probability",
    {"error": 0.1},
    reject=[0.1, -np.inf, 0.0],
)
NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([10**400, "inf", "-inf", "nan", "0.5", True, None, [], {}, 5e-324, 1e308, -0.0]),
)
PLAIN = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=6), st.sampled_from(["a\x1b[2J", "co\ud800"])
)
JSON = st.recursive(PLAIN, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=3))
NAMES = st.one_of(st.text(max_size=6), st.sampled_from(["a", "a\0", "=1+1", "x" * 5_000, "\u202e", ""]), JSON)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("policies") / "policy.json"


@pytest.fixture(scope="module")
def content(path):
    WHOLE.save(path)
    return path.read_bytes()


def good(policy, path):
    """A policy that was read decides at each stage, and is the same when saved and read again."""
    for value in (0.0, -1.0, 0.5, float("nan")):
        for stage in policy.stages:
            decision = accepted(lambda: policy.decide(stage, value))  # noqa: B023
            assert decision in ("accept", "defer", "abstain", None)
    policy.save(path)
    again = Policy.load(path)
    assert (again.stages, again.thresholds, again.reject) == (policy.stages, policy.thresholds, policy.reject)


def read(path):
    policy = accepted(lambda: Policy.load(path), seconds=5.0, megabytes=200.0)
    if policy is not None:
        good(policy, path)
    return policy


@fuzzed(60, 5_000, "content", "path", data=st.data())
def test_bytes_flipped_cut_and_put_in(content, path, data):
    path.write_bytes(damaged(data, content, ["flip", "cut", "put in", "copy"]))
    read(path)


@fuzzed(60, 5_000, "path", data=st.data())
def test_parts_made_up(path, data):
    WHOLE.save(path)
    parts = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from([*parts, "history", "odd"]))
        if data.draw(st.booleans()):
            parts[name] = data.draw(JSON)
        elif isinstance(parts.get(name), list) and parts[name]:
            at = data.draw(st.integers(0, len(parts[name]) - 1))
            parts[name][at] = data.draw(NAMES if name == "stages" else NUMBERS)
        else:
            parts.pop(name, None)
    path.write_text(json.dumps(parts))
    read(path)


KNOWN = st.one_of(st.sampled_from(sorted(KINDS)), PLAIN)


@fuzzed(
    50,
    5_000,
    stages=st.lists(NAMES, max_size=4),
    numbers=st.lists(NUMBERS, max_size=4),
    kind=KNOWN,
    metadata=st.dictionaries(st.text(max_size=3), JSON),
)
def test_policies_made_in_memory(stages, numbers, kind, metadata):
    policy = accepted(lambda: Policy(stages, numbers, kind, metadata))
    if policy is not None:
        assert policy.thresholds[-1] == -np.inf
        assert len(policy.stages) == len(set(policy.stages)) == len(policy.thresholds)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 50_000, '{"format": ' + "9" * 5_000, '"' + "x" * 10_000_000, "\ufeff" * 1000]
)
def test_texts_that_are_deep_or_long(path, text):
    path.write_text(text, encoding="utf-8")
    assert read(path) is None
