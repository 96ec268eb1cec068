"""What the README and the how-to show is what a reader gets: what they show is run, numbers aside."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_shown():
    spec = importlib.util.spec_from_file_location("shown", ROOT / ".ci" / "shown.py")
    shown = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shown)
    return shown


def without_numbers(text):
    """Digits may differ from machine to machine; words, tables and their order may not."""
    text = re.sub(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?", "#", text)
    lines = (re.sub(r"[\s━─]+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def test_what_is_printed_stands_below_what_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = "a\n```python\nx = 2\nprint(x)\n```\n\n```text\n1\n```\n```python\nnothing\n```\n\nb\n"
    page += "```python\nprint(x + 1)\n```\n\n```text\n```\n\n```console\n$ bayescascade --version\nold\n```\n"
    told = load_shown().renew(page)
    assert "```text\n2\n```\n```python\nnothing\n```" in told
    assert "```text\n3\n```" in told
    assert re.search(r"```console\n\$ bayescascade --version\nbayescascade \d.*\n```\n$", told)


# the README's files hold calls that cannot be used
@pytest.mark.filterwarnings("ignore::bayescascade.errors.CascadeWarning")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", pytest.param("docs/howto.md", marks=pytest.mark.long)])
def test_the_page_shows_what_it_prints(name, tmp_path, monkeypatch):
    # where this fails, words have changed: make readme
    monkeypatch.chdir(tmp_path)
    page, shown = (ROOT / name).read_text(encoding="utf-8"), load_shown()
    shown.bring_files(tmp_path)
    assert without_numbers(shown.renew(page)) == without_numbers(page)
