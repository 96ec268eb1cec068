"""The committed files of responses: those that the README and the notebook read."""

import gzip
import re
import shlex
import shutil
from pathlib import Path

import pytest
from helpers.cli_fakes import run

ROOT = Path(__file__).parents[3]
FILES = ROOT / "notebooks" / "responses"


def test_are_what_the_client_writes(example_log, tmp_path):
    responses = pytest.importorskip("helpers.responses", reason="needs the package openai")
    responses.write_packed(example_log, tmp_path)
    for path in tmp_path.iterdir():
        assert unpacked(path) == unpacked(FILES / path.name)


def unpacked(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_the_readme_reads_them(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^bayescascade (read .*?[^\\])$", readme, re.M | re.S)
    shutil.copytree(FILES, tmp_path / "responses")
    monkeypatch.chdir(tmp_path / "responses")
    result = run(*shlex.split(command.replace("\\\n", "")))
    assert result.exit_code == 0, result.output
    (shown,) = re.findall(r"^```\n(Format: .*?)^```", readme, re.M | re.S)
    assert result.stderr.startswith(shown)
