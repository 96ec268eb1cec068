"""What the README shows is what a reader gets: its commands and its Python are run, numbers aside."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE).group(1)


def without_numbers(text):
    """Digits may differ from machine to machine; words, tables and their order may not."""
    text = re.sub(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?", "#", text)
    lines = (re.sub(r"[\s━─]+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def run(command, folder):
    # a kernel that compiles for the first time takes a minute or two
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_readme_runs_and_prints_what_it_shows(tmp_path):
    shown = block("console")
    printed = ""
    for line in re.findall(r"^\$ (.*)$", shown, re.MULTILINE):
        program, *arguments = shlex.split(line)
        assert program == "bayescascade"
        printed += f"$ {line}\n{run([sys.executable, '-m', 'bayescascade.cli', *arguments], tmp_path)}"
    assert without_numbers(printed) == without_numbers(shown)

    printed = run([sys.executable, "-c", block("python")], tmp_path)
    assert without_numbers(printed) == without_numbers(block("text"))
