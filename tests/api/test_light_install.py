"""What works where NumPy is all that is installed; `make release` tries the same in such an environment."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bayescascade as bc

ROOT = Path(__file__).parents[2]
SPECS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# stands in the way of every package but those named, as if it were not installed
ALONE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names | {"numpy", "bayescascade"} and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
"""
RUN = """
from pathlib import Path
from pkgutil import walk_packages
from importlib import import_module
import bayescascade, bayescascade.runtime, bayescascade.signals
for room in (bayescascade.runtime, bayescascade.signals):
    for module in walk_packages(room.__path__, room.__name__ + "."):
        import_module(module.name)
from bayescascade import CascadeError, Policy
policy = Policy(["small", "large"], [0.8, float("-inf")], "probability", {"goal": "a test"})
policy.save("policy.json")
assert Policy.load("policy.json") == policy
print(policy.decide("small", 0.9), policy.run([0.7]), "accepts" in policy._repr_html_())
"""


def alone(code, folder, *arguments):
    command = [sys.executable, "-c", ALONE + code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")


def names(requirements):
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def test_numpy_is_all_that_the_plain_install_brings():
    assert names(SPECS["project"]["dependencies"]) == {"numpy"}


def test_what_runs_a_policy_may_import_nothing_that_fit_brings():
    contracts = SPECS["tool"]["importlinter"]["contracts"]
    brought = names(SPECS["project"]["optional-dependencies"]["fit"]) - {"backports-zstd"}  # the library's, later
    assert set(contracts[-1]["forbidden_modules"]) == brought


def test_policies_run_on_numpy_alone(tmp_path):
    done = alone(RUN, tmp_path)
    assert (done.stdout, done.stderr) == ("accept defer True\n", "")


RUN_CASCADE = """
import asyncio
from bayescascade import Cascade, Endpoint, Policy, Reply
policy = Policy(["small", "human"], [0.8, float("-inf")], "probability")
async def run():
    stages = {"small": lambda m: Reply("a", 0.5), "human": lambda m: "b"}
    async with Cascade(policy, stages, log="log.jsonl") as cascade:
        return (await cascade.answer("q", "q")).answer
print(asyncio.run(run()))
try:
    Cascade(policy, {"small": Endpoint("m", signal="answer_probability"), "human": lambda m: "b"})
except ImportError as error:
    print(error)
"""


def test_a_cascade_of_functions_runs_on_numpy_alone(tmp_path):
    done = alone(RUN_CASCADE, tmp_path)
    assert done.stderr == ""
    answer, missing = done.stdout.splitlines()
    assert answer == "b"
    assert missing.startswith("bayescascade.Endpoint needs openai, which is not installed")
    assert missing.endswith('python -m pip install "bayescascade[serve]"')


def test_an_app_says_what_to_install(tmp_path):
    done = alone("from bayescascade.serving import app", tmp_path)
    missing = done.stderr.splitlines()[-1]
    assert missing.startswith("ImportError: bayescascade.serving.app needs fastapi, which is not installed")
    assert missing.endswith('python -m pip install "bayescascade[serve]"')


def test_an_app_needs_nothing_of_what_fit_brings():
    code = "import sys; from bayescascade.serving import app, server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    brought = names(SPECS["project"]["optional-dependencies"]["fit"]) - {"backports-zstd"}
    assert loaded & brought == set()


def test_every_other_name_says_what_to_install(tmp_path):
    code = (
        "import json, bayescascade as bc\nsaid = {}\n"
        "for name in bc.__all__:\n"
        "    try: getattr(bc, name)\n"
        "    except ImportError as error: said[name] = [error.name, str(error)]\n"
        "print(json.dumps(said))"
    )
    said = json.loads(alone(code, tmp_path).stdout)
    light = {"CascadeError", "CascadeWarning", "NoConfidence", "Policy", "confidence"}
    light |= {"Budget", "Cascade", "Endpoint", "Reply", "StreamBudget"}
    assert set(bc.__all__) - set(said) == light
    for name, (missing, text) in said.items():
        assert text.startswith(f"bayescascade.{name} needs {missing}, which is not installed")
        assert text.endswith('python -m pip install "bayescascade[fit]"')


def test_the_command_line_says_what_to_install(tmp_path):
    done = alone("from bayescascade.cli.__main__ import main; main()", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the command line needs typer, which is not installed")
    assert done.stderr.count("\n") == 1


def test_a_module_of_ours_that_is_missing_is_no_missing_package(monkeypatch):
    monkeypatch.setitem(bc._HOME, "nothing", "bayescascade.nothing")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'bayescascade\.nothing'$"):
        bc.nothing  # noqa: B018
