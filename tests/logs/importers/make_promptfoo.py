"""Writes the results of promptfoo that the tests read, with promptfoo itself and two providers made up here.

    npm install promptfoo@0.123.1    (its Node is 22.22 or newer)
    python tests/logs/importers/make_promptfoo.py node_modules/.bin/promptfoo

``files/promptfoo/results.json`` and, of fewer tests, ``results.jsonl``. An older version writes an older layout:
``version-2.json`` is by promptfoo 0.80.3, from ``make_promptfoo.py PROMPTFOO version-2.json``. With the word
notebook after the program it writes ``notebooks/promptfoo``.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "files" / "promptfoo"
NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "promptfoo"
TESTS = 20
PROVIDER = """
// A model that adds, says how sure it is, and now and then does not answer.
const crypto = require('crypto');

class Adding {
  constructor(options) {
    this.config = options.config;
    this.label = options.label;
  }

  id() {
    return this.config.name;
  }

  async callApi(prompt) {
    const draw = (what) => {
      const digest = crypto.createHash('sha256').update(this.config.name + prompt + what).digest('hex');
      return parseInt(digest.slice(0, 8), 16) / 2 ** 32;
    };
    if (draw('fail') < this.config.fails) return { error: 'API error: no answer' };
    const [first, second] = prompt.match(/\\d+/g).map(Number);
    const sure = Math.pow(draw('sure'), 1 / this.config.skill);
    const said = draw('right') < sure ? first + second : first + second + 1;
    const response = {
      output: String(said),
      tokenUsage: { total: 14, prompt: 12, completion: 2 },
      logProbs: [Math.log(sure) / 4, (3 * Math.log(sure)) / 4],
    };
    return this.config.price ? { ...response, cost: this.config.price } : response;
  }
}

module.exports = Adding;
"""


def config(tests: int, free: bool = True) -> dict[str, Any]:
    rng = random.Random(1)
    pairs = [(rng.randint(2, 99), rng.randint(2, 99)) for _ in range(tests)]

    def test(i: int, a: int, b: int) -> dict[str, Any]:
        right = {"type": "equals", "value": str(a + b)}
        parity = {"type": "regex", "value": "[02468]$" if (a + b) % 2 == 0 else "[13579]$", "metric": "parity"}
        return {"vars": {"a": a, "b": b}} if i == 3 else {"vars": {"a": a, "b": b}, "assert": [right, parity]}

    return {
        "description": "sums",
        "prompts": ["{{a}} + {{b}} ="],
        "providers": [
            provider("small", skill=2, price=2e-5, fails=0.1),
            provider("large", skill=9, price=4e-4, fails=0),
            *([provider("free", skill=3, price=0, fails=0)] if free else []),
        ],
        "tests": [test(i, *pair) for i, pair in enumerate(pairs)],
    }


def provider(name: str, **options: float) -> dict[str, Any]:
    return {"id": "file://provider.js", "label": name, "config": {"name": f"adding:{name}", **options}}


def run(program: str, folder: Path, config: dict[str, Any], output: str) -> None:
    (folder / "provider.js").write_text(PROVIDER)
    (folder / "config.json").write_text(json.dumps(config))
    quiet = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_CONFIG_DIR": str(folder),
    }
    command = [program, "eval", "-c", "config.json", "-o", output, "--no-cache", "--no-write", "-j", "1"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **quiet}, capture_output=True, text=True, timeout=300
    )
    if not (folder / output).exists():  # it fails, too, where an answer is wrong
        raise SystemExit(done.stdout + done.stderr)


def main(program: str, older: str | None = None) -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    wanted = [(TESTS, "results.json"), (4, "results.jsonl")] if older is None else [(6, older)]
    for tests, name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            (HERE / name).write_text(results(program, folder, config(tests), name))


def results(program: str, folder: str, config: dict[str, Any], name: str) -> str:
    run(str(Path(program).absolute()), Path(folder), config, name)
    return (Path(folder) / name).read_text().replace(folder, "")


def for_the_notebook(program: str) -> None:
    """More tests of two providers, packed, into ``notebooks/promptfoo``."""
    NOTEBOOK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        content = results(program, folder, config(150, free=False), "results.json").encode()
    (NOTEBOOK / "results.json.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    found = shutil.which(sys.argv[1]) or sys.argv[1]
    for_the_notebook(found) if sys.argv[2:] == ["notebook"] else main(found, *sys.argv[2:])
