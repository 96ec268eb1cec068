"""What a served cascade adds to the time of its upstream, with 50 clients at a time. `make bench` prints it.

The upstream, the server and the clients are three processes, so they need three cores to be alone.
"""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from openai import AsyncOpenAI

import bayescascade as bc

pytestmark = pytest.mark.benchmark

CLIENTS, REQUESTS, DELAY = 50, 1000, 1.0
UPSTREAM = f"""
import asyncio, json
import uvicorn
from bayescascade.serving.server import listen
from helpers.model_server import completion

body = json.dumps(completion("A", -0.1)).encode()
head = {{"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}}

async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep({DELAY})
    await send(head)
    await send({{"type": "http.response.body", "body": body}})

listening = listen("127.0.0.1", 0)
print(f"on http://127.0.0.1:{{listening.getsockname()[1]}}/v1", flush=True)
config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
uvicorn.Server(config).run(sockets=[listening])
"""


@contextmanager
def process(*arguments):
    """A program that prints its address."""
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *arguments]
    started = subprocess.Popen(command, env={**os.environ, **paths}, stdout=subprocess.PIPE, text=True)
    try:
        words = started.stdout.readline().split()
        yield next(word for word in words if word.startswith("http")).rstrip(";")
    finally:
        started.terminate()
        started.communicate()


async def latencies(url, model, more):
    """Seconds of each request, of clients that each ask one after another."""
    seconds = []
    message = {"role": "user", "content": "Is a tomato a fruit?"}

    async def ask(client, times, wait=0.0):
        await asyncio.sleep(wait)
        for _ in range(times):
            start = time.perf_counter()
            await client.chat.completions.create(model=model, messages=[message], **more)
            seconds.append(time.perf_counter() - start)

    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60.0) as client:
        await asyncio.gather(*(ask(client, 2) for _ in range(CLIENTS)))  # connections are made
        seconds.clear()
        start = time.perf_counter()
        # one after another, as people come: 50 at the same moment would wait for one another
        waits = (DELAY * i / CLIENTS for i in range(CLIENTS))
        await asyncio.gather(*(ask(client, REQUESTS // CLIENTS, wait) for wait in waits))
        return 1000 * np.array(seconds), len(seconds) / (time.perf_counter() - start)


@pytest.mark.parametrize("logged", [False, True])
def test_overhead_with_fifty_clients(tmp_path, monkeypatch, capsys, logged):
    monkeypatch.chdir(tmp_path)
    bc.Policy(["small", "large"], [-0.5, float("-inf")], "logprob").save("policy.json")
    command = ["-m", "bayescascade.cli", "serve", "policy.json", "--endpoints", "endpoints.toml", "--port", "0"]
    command += ["--log", "log.jsonl"] if logged else []
    more = {"logprobs": True, "top_logprobs": 5}
    with process("-c", UPSTREAM) as upstream:
        table = f'model = "m"\nprice = 1\nbase_url = "{upstream}"\napi_key_env = ""\n'
        Path("endpoints.toml").write_text("".join(f"[{name}]\n{table}" for name in ("small", "large")))
        with process(*command) as url:
            direct, own_rate = asyncio.run(latencies(upstream, "m", more))
            through, rate = asyncio.run(latencies(url, "bayescascade", {}))
    with capsys.disabled():
        print(f"\n{CLIENTS} clients, {REQUESTS} requests, upstream {1000 * DELAY:.0f} ms, log: {logged}")
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            before, after = np.quantile(direct, share), np.quantile(through, share)
            print(f"  {name}: {before:.0f} ms alone, {after:.0f} ms served, {after - before:.0f} ms more")
        print(f"  {own_rate:.0f} and {rate:.0f} requests a second")
    assert len(through) == REQUESTS
