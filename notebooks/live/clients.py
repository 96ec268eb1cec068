"""A cascade that is served by a process of its own, and a client that asks it."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
from openai import OpenAI

PRICES = {"small": 0.0001, "medium": 0.0004, "large": 0.002}  # of a call
REQUEST = {"max_tokens": 1, "temperature": 0}


def write_endpoints(path, urls):
    """The file that `bayescascade run` and `bayescascade serve` read."""
    tables = [
        f'[{name}]\nmodel = "{name}"\nbase_url = "{url}"\napi_key_env = ""\nprice = {price}\n'
        f"request = {{ {', '.join(f'{key} = {value}' for key, value in REQUEST.items())} }}\n"
        for (name, price), url in zip(PRICES.items(), urls, strict=True)
    ]
    path.write_text("\n".join(tables))
    return path


@contextmanager
def served(*arguments):
    """The address of `bayescascade serve` with these arguments; it is stopped as Ctrl-C stops it."""
    command = [sys.executable, "-m", "bayescascade.cli", "serve", *map(str, arguments), "--port", "0"]
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env={**os.environ, **paths}, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http")).rstrip(";")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        if process.returncode:
            raise RuntimeError(f"the server ended with {process.returncode}")
    finally:
        process.kill()
        process.communicate()


def ask(url, prompts):
    """The answers of a served cascade, by prompt; the prompt is the query's id in the log, too."""
    with OpenAI(base_url=url, api_key="none") as client:
        return {
            prompt: client.chat.completions.create(
                model="bayescascade",
                messages=[{"role": "user", "content": prompt}],
                extra_headers={"Idempotency-Key": prompt},
            )
            .choices[0]
            .message.content
            for prompt in prompts
        }


def graded(path, sums):
    """A decision log as a table, with labels for the queries whose sums are known."""
    table = pd.read_json(path, lines=True, dtype={"answer": str})
    expected = table["query"].map(sums)
    table["correct"] = (table["answer"] == expected).astype(float).where(expected.notna())
    return table
