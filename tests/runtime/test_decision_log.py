"""The decision log: whole after any end of the process, and nobody else's file."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest
from helpers.model_server import completion, serving

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.runtime.cascade import Cascade
from bayescascade.runtime.decision_log import DecisionLog
from bayescascade.runtime.policy import Policy

ROOT = Path(__file__).parents[2]
STAGES = ["small", "large"]
LINE = {"query": "q", "stage": "small", "decision": "accept", "kind": "logprob"}


def opened(path):
    return DecisionLog(path, STAGES, "logprob")


def written(path, *queries):
    log = opened(path)
    for query in queries:
        log.append(
            query, [{**LINE, "query": query, "decision": "defer"}, {**LINE, "query": query, "stage": "large"}]
        )
    log.close()


def test_any_end_within_a_write_is_cut(tmp_path):
    path = tmp_path / "log.jsonl"
    written(path, "a", "b")
    whole = path.read_bytes()
    end_of_a = whole.index(b'{"query": "b"')
    for length in [*range(0, len(whole), 7), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:length])
        log = opened(path)
        log.close()
        kept = 0 if length < end_of_a else end_of_a if length < len(whole) else length
        assert path.read_bytes() == whole[:kept]
        assert log.cut == length - kept
        assert list(log.places) == ["a", "b"][: (kept > 0) + (kept == len(whole))]


def test_what_was_cut_is_said(tmp_path):
    path = tmp_path / "log.jsonl"
    written(path, "a")
    with open(path, "ab") as stream:
        stream.write(b'{"query": "b", "sta')
    policy = Policy(STAGES, [-1.0, float("-inf")], "logprob")
    with pytest.warns(CascadeWarning, match="its last 19 bytes were cut off, and that query will be run again"):
        cascade = Cascade(policy, dict.fromkeys(STAGES, lambda messages: "x"), log=path)
    cascade._log.close()


def test_two_writers_are_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    log = opened(path)
    with pytest.raises(CascadeError, match="another process writes the log"):
        opened(path)
    log.close()
    opened(path).close()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("query,stage\na,small\n", "line 1: it is not a JSON object"),
        ("a poem without an end of line", "line 1: it is not one of a cascade's log"),
        ('{"a": 1}\n', "line 1: it has no 'query'"),
        ("[1]\n", "line 1: it has no 'query'"),
        (json.dumps({**LINE, "stage": "huge", "last": True}) + "\n", "its stage 'huge' is none of the policy's"),
        (json.dumps({**LINE, "kind": "margin", "last": True}) + "\n", "are of the kind 'margin', not 'logprob'"),
        (json.dumps({**LINE, "query": 3, "last": True}) + "\n", "its query is 3, not a text"),
        (2 * (json.dumps({**LINE, "last": True}) + "\n"), "line 2: the query 'q' is there twice"),
    ],
)
def test_files_that_are_none_of_ours_stay_as_they_are(tmp_path, text, sentence):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(CascadeError, match=sentence):
        opened(path)
    assert path.read_text() == text


def test_places_that_cannot_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "no" / "log.jsonl"):
        with pytest.raises(CascadeError, match="cannot be written"):
            opened(path)
    with pytest.raises(CascadeError, match="is not a regular file"):
        opened("/dev/null")


def test_a_disk_that_is_full_leaves_whole_queries(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    written(path, "a")
    before, write = path.read_bytes(), os.write
    log = opened(path)
    monkeypatch.setattr(os, "write", lambda file, text: write(file, text[:30]))
    with pytest.raises(CascadeError, match="the disk is full; query 'b' is not in it"):
        log.append("b", [{**LINE, "query": "b"}])
    monkeypatch.undo()
    assert path.read_bytes() == before
    log.append("b", [{**LINE, "query": "b"}])
    assert log.lines_of("b")[0]["query"] == "b"
    log.close()


RUN = """
import asyncio, sys
from bayescascade import Cascade, Endpoint, Policy
url, path = sys.argv[1:]
policy = Policy(["small", "large"], [-0.5, float("-inf")], "logprob")
stages = {name: Endpoint(name, url, api_key_env=None, price=1.0) for name in policy.stages}
async def run():
    async with Cascade(policy, stages, log=path, concurrency=4) as cascade:
        under_way = asyncio.Semaphore(4)
        async def ask(i):
            async with under_way:
                await cascade.answer("-0.1" if i % 2 else "-0.9", f"q{i}")
        await asyncio.gather(*map(ask, range(60)))
asyncio.run(run())
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9")
def test_killed_at_any_time_no_call_is_lost_or_doubled(tmp_path):
    path = tmp_path / "log.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kills = 0
    with serving(lambda prompt: completion("A", float(prompt)), delay=0.01) as model:
        command = [sys.executable, "-c", RUN, model.url, str(path)]
        for goal in (10, 45):  # lines in the log when the process is killed
            process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") >= goal):
                time.sleep(0.005)
            process.kill()
            kills += process.wait() == -9
        kept = [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        asked = len(model.requests)
    assert kills == 2
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    counts = Counter((line["query"], line["stage"]) for line in lines)
    expected = {(f"q{i}", "small") for i in range(60)} | {(f"q{i}", "large") for i in range(0, 60, 2)}
    assert set(counts) == expected
    assert set(counts.values()) == {1}
    assert lines[: len(kept)] == kept  # what had ended before is as it was
    assert asked <= 90 + 2 * 4 * 2  # only what was under way is asked anew
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DecisionLog(path, STAGES, "logprob").close()
