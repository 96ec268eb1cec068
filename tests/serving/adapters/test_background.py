"""A cascade that is asked from several threads and event loops."""

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.model_server import completion, serving

from bayescascade import Cascade, CascadeError, Endpoint, Policy
from bayescascade.serving.adapters.background import BackgroundCascade

POLICY = Policy(["small"], [-math.inf], "logprob")


def test_threads_and_loops_share_one():
    with serving(lambda prompt: completion(prompt, -0.1)) as model:
        background = BackgroundCascade(Cascade(POLICY, {"small": Endpoint("m", model.url, api_key_env=None)}))
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda i: background.answer(f"p{i}").answer, range(8)))
        assert found == [f"p{i}" for i in range(8)]
        for i in range(2):  # each run has an event loop of its own
            assert asyncio.run(background.answer_async(f"q{i}")).answer == f"q{i}"
        background.close()
        background.close()


def test_mistakes_come_through():
    background = BackgroundCascade(Cascade(POLICY, {"small": Endpoint("m", "http://127.0.0.1:1/v1", None)}))
    with pytest.raises(CascadeError, match="messages should be a text"):
        background.answer("")
    background.close()
