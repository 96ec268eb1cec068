"""`bayescascade serve`: as a process of its own, stopped by a signal."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from helpers.cli_fakes import assert_one_sentence, run
from helpers.model_server import completion, serving

import bayescascade as bc

TOKEN = "tok-SENTINEL-0123456789"
ARGUMENTS = ("serve", "policy.json", "--endpoints", "endpoints.toml", "--port", "0", "--log", "log.jsonl")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A server, and a working folder with all that the command reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERVER_TOKEN", TOKEN)
    bc.Policy(["small", "large"], [-0.5, float("-inf")], "logprob").save("policy.json")
    with serving(lambda prompt: completion("A", float(prompt))) as model:
        common = f'model = "m"\nprice = 1\nbase_url = "{model.url}"\napi_key_env = ""\n'
        Path("endpoints.toml").write_text("".join(f"[{name}]\n{common}" for name in ("small", "large")))
        yield model


@contextmanager
def process(*more):
    """The command at work, and its address."""
    command = [sys.executable, "-m", "bayescascade.cli", *ARGUMENTS, *more]
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = subprocess.Popen(command, env={**os.environ, **paths}, **pipes)
    try:
        line = started.stdout.readline()
        yield started, line, next((word for word in line.split() if word.startswith("http")), "").rstrip(";")
    finally:
        started.kill()
        started.communicate()


def ask(url, prompt):
    with openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client:
        messages = [{"role": "user", "content": prompt}]
        return client.chat.completions.create(model="ours", messages=messages).choices[0].message.content


def ask_in_vain(url):
    with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
        ask(url, "-0.1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_end(model, number):
    model.delay = 0.5
    answers = []
    with process("--name", "ours", "--token-env", "SERVER_TOKEN") as (started, line, url):
        assert line.startswith("Serving policy ")
        thread = threading.Thread(target=lambda: answers.append(ask(url, "-0.9")))
        thread.start()
        while not model.busy:
            time.sleep(0.01)
        started.send_signal(number)
        thread.join()
        output, errors = started.communicate(timeout=20)
    assert started.returncode == 0
    assert answers == ["A"]
    assert (output, errors) == ("Stopped. Every query that has ended is in log.jsonl.\n", "")
    lines = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [line["decision"] for line in lines] == ["defer", "accept"]


def test_a_second_interrupt_does_not_wait(model):
    model.delay = 8.0
    with process("--name", "ours") as (started, _, url):
        thread = threading.Thread(target=ask_in_vain, args=(url,))
        thread.start()
        while not model.busy:
            time.sleep(0.01)
        start = time.monotonic()
        started.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert started.poll() is None
        started.send_signal(signal.SIGINT)
        _, errors = started.communicate(timeout=20)
        assert time.monotonic() - start < 6.0
        thread.join()
    assert (started.returncode, errors) == (128 + signal.SIGINT, "")
    assert Path("log.jsonl").read_text() == ""


def test_a_kill_leaves_a_whole_log(model):
    with process("--name", "ours") as (started, _, url):
        assert ask(url, "-0.1") == "A"
        model.delay = 5.0
        thread = threading.Thread(target=ask_in_vain, args=(url,))
        thread.start()
        while not model.busy:
            time.sleep(0.01)
        started.kill()
        thread.join()
    (line,) = map(json.loads, Path("log.jsonl").read_text().splitlines())
    assert (line["decision"], line["last"]) == ("accept", True)


@pytest.mark.parametrize(
    ("more", "fragment"),
    [
        (("--token-env", "NO_TOKEN"), "variable NO_TOKEN is not set"),
        (("--log", "log.csv"), "the log is written as .jsonl"),
        (("--host", "no such host"), "cannot be listened on"),
        (("--max-daily-cost", "0"), "--max-daily-cost should be above 0"),
        (("--name", " "), "give the name that clients ask for"),
    ],
)
def test_options_that_are_wrong(model, monkeypatch, more, fragment):
    monkeypatch.delenv("NO_TOKEN", raising=False)
    assert_one_sentence(run(*ARGUMENTS, *more), fragment)


def test_a_port_that_is_taken(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_sentence(run(*ARGUMENTS, "--port", port), f"port {port} of 127.0.0.1 cannot be listened on")


def test_others_than_this_machine_are_told_of(model, monkeypatch):
    monkeypatch.setattr("bayescascade.serving.server.serve", lambda *arguments: None)
    assert "anyone who can reach 0.0.0.0 can send requests" in run(*ARGUMENTS, "--host", "0.0.0.0").stderr
    assert run(*ARGUMENTS, "--host", "::1").stderr == ""
    assert run(*ARGUMENTS, "--host", "0.0.0.0", "--token-env", "SERVER_TOKEN").stderr == ""


# ---- export


def test_export(model):
    policy = bc.Policy.load("policy.json")
    assert run("export", "policy.json", "--to", "sql").stdout == policy.to_sql()
    columns = {"small": "c1", "large": "c2"}
    result = run("export", "policy.json", "--to", "sql", "--table", "log", "--columns", "small=c1,large=c2")
    assert result.stdout == policy.to_sql("log", columns)
    assert run("export", "policy.json", "--to", "vllm-router", "-o", "route.yaml").stdout == "Wrote route.yaml.\n"
    assert Path("route.yaml").read_text() == policy.to_vllm_router()


@pytest.mark.parametrize(
    ("more", "fragment"),
    [
        (("--to", "sql", "--columns", "small"), "'small' does not look like small=confidence_small"),
        (("--to", "sql", "--columns", "x=y"), "there is no stage 'x'"),
        (("--to", "sql", "-o", "policy.json"), "is the input itself"),
        (("--to", "vllm-router", "--table", "t"), "--table and --columns go with --to sql"),
    ],
)
def test_exports_that_cannot_be(model, more, fragment):
    assert_one_sentence(run("export", "policy.json", *more), fragment)


def test_a_policy_that_the_router_cannot_follow(model):
    bc.Policy(["small", "large"], [0.5, float("-inf")], "probability").save("policy.json")
    assert_one_sentence(run("export", "policy.json", "--to", "vllm-router"), "cannot decide as this policy does")
