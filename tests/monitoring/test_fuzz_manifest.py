"""Manifests made up, in files that say their hash: `monitor` takes them or refuses them in a sentence."""

import json
from copy import deepcopy

import numpy as np
import pytest
from helpers.fuzz import accepted, fuzzed
from hypothesis import strategies as st

from bayescascade.monitoring.monitor import monitor
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.policy_file import content_hash
from studies.monitor.streams import World, policy_of, served_of

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**30), 10**30),
    st.sampled_from(["-inf", "nan", "small", [], {}, [0.5], [1.0, 0.5], 10**400]),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    rng = np.random.default_rng(1)
    policy = policy_of(World().log(130, rng))
    path = tmp_path_factory.mktemp("policies") / "policy.json"
    policy.save(path)
    return json.loads(path.read_text()), served_of(policy, [World().log(40, rng)]), path


@fuzzed(60, 2_000, "world", data=st.data())
def test_manifests_made_up(world, data):
    content, log, path = world
    content = json.loads(json.dumps(content))
    for _ in range(data.draw(st.integers(1, 2))):
        at, depth = content["manifest"], data.draw(st.integers(1, 7))
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key, depth = data.draw(st.sampled_from(keys)), depth - 1
            if depth <= 0 or not isinstance(at[key], dict | list):
                if data.draw(st.booleans()):
                    at[key] = deepcopy(data.draw(VALUES))  # the next change may be within it
                else:
                    del at[key]
                break
            at = at[key]
    path.write_text(json.dumps(content | {"content_hash": content_hash(content)}))
    policy = accepted(lambda: Policy.load(path))
    if policy is not None:
        found = accepted(lambda: monitor(policy, log))
        assert found is None or found.exit_code in (0, 1, 2)
