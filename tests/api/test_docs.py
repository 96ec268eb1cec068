"""The pages hold what the code has: fields, names, commands, pictures; and say it in the glossary's words."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer.main

import bayescascade as bc
from bayescascade.cli.app import app
from bayescascade.signals.kinds import KINDS
from studies.common.command import PAGES
from studies.summary import run as summary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMANDS = typer.main.get_command(app).commands
SKILL = ROOT / "skills" / "bayescascade" / "SKILL.md"


def read(*names):
    return DOCS.joinpath(*names).read_text(encoding="utf-8")


def test_the_page_on_policies_names_every_field_of_the_schema():
    schema = json.loads((ROOT / "bayescascade" / "runtime" / "policy.schema.json").read_text(encoding="utf-8"))
    fields = set(schema["properties"]) | set(schema["$defs"]["manifest"]["properties"])
    named = {
        name
        for cell in re.findall(r"^\| (`[^|]+) \|", read("reference", "policy.md"), re.M)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert fields == named


def test_the_page_on_logs_names_every_kind():
    section = read("reference", "log.md").split("## Kinds of confidence")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == list(KINDS)


def test_every_public_name_has_a_page():
    listed = set(re.findall(r"^   (\w+)$", read("api.md"), re.M))
    assert set(bc.__all__) - listed <= {"__version__"}


def test_every_plot_has_a_picture():
    pictures = {path.stem for path in (DOCS / "_static" / "gallery").glob("*.png")}
    assert pictures == {name for name in bc.__all__ if name.startswith("plot_")}
    assert set(re.findall(r'^        "(plot_\w+)":', read("conf.py"), re.M)) == pictures


def test_every_picture_has_an_alternative_text():
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for start in re.finditer(r"^```\{(?:image|figure)\}.*\n(.*)$", text, re.M):
            assert re.match(r":alt: \S+ \S+", start[1]), f"{page.name}: {start[0]}"
        assert not re.search(r"!\[\s*\]\(", text), page.name


def test_the_summary_of_the_evidence_says_what_the_tables_say():
    # where this fails, the tables have changed: python -m studies.summary.run
    assert (PAGES / "summary.md").read_text(encoding="utf-8") == summary.page()


def test_the_page_of_commands_has_every_command_and_option(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import command_line

    monkeypatch.delitem(sys.modules, "command_line")
    command_line.pages(tmp_path)
    sections = re.split(r"^\(cli-([\w-]+)\)=$", (tmp_path / "cli.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    shown = dict(zip(sections[::2], sections[1::2], strict=True))
    assert list(shown) == list(COMMANDS)
    for name, command in COMMANDS.items():
        for param in command.params:
            if param.opts[0].startswith("--") and not param.hidden:
                assert f"`{param.opts[0]}`" in shown[name], (name, param.opts)
        # the names of what may be chosen are filled in
        assert not re.search(r"\{\w+\}", shown[name])


# ---- for assistants


def test_links_of_llms_txt_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "llms.txt").read_text(encoding="utf-8"))
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).is_file()] == []


def commands_in(text):
    """What is typed in blocks of a shell, and what stands in a line of text."""
    for kind, block in re.findall(r"^```(sh|bash|console)\n(.*?)^```", text, re.M | re.S):
        lines = re.sub(r"\\\n", " ", block).splitlines()
        yield from (line[2:] for line in lines if line.startswith("$ ")) if kind == "console" else lines
    yield from re.findall(r"`(bayescascade [^`]+)`", text)


@pytest.mark.parametrize(
    "path",
    [SKILL, ROOT / "llms.txt", ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("[sw]*/*.md"))],
    ids=lambda path: path.name,
)
def test_commands_in_texts_exist(path):
    for line in commands_in(path.read_text(encoding="utf-8")):
        if not line.startswith("bayescascade ") or "COMMAND" in line:
            continue
        words = shlex.split(line, comments=True)
        if words[1].startswith("-"):
            continue
        assert words[1] in COMMANDS, line
        known = {name for param in COMMANDS[words[1]].params for name in [*param.opts, *param.secondary_opts]}
        options = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert options <= known | {"--help"}, line


def test_the_skill_has_a_name_and_says_when_to_use_it():
    found = re.match(r"---\nname: (\S+)\ndescription: (.+)\n---\n", SKILL.read_text(encoding="utf-8"))
    assert found is not None
    assert found[1] == SKILL.parent.name
    assert len(found[2]) < 1024


# ---- words

# what the glossary has another word for, or nobody says
RETIRED = [
    r"\b(?:un)?graded\b",
    r"\bdearer\b",
    r"\bdearest\b",
    r"\bpass(?:es|ed)? (?:(?:a|the) query|it|them|queries) on\b",
    r"\bto be had\b",
    r"\beveryone else\b",
    r"\bnine tenths\b",
    r"\bbeside everyone\b",
    r"\bsurer\b",
    r"\breckoning\b",
]
PLAIN = ["README.md", "llms.txt", "skills/bayescascade/SKILL.md", "docs/evidence/summary.md"]
PLAIN += sorted(f"docs/{path.name}" for path in DOCS.glob("*.md"))
PLAIN += sorted(f"docs/start/{path.name}" for path in (DOCS / "start").glob("*.md"))
PLAIN += sorted(f"docs/ways-in/{path.name}" for path in (DOCS / "ways-in").glob("*.md"))
PLAIN += [f"docs/reference/{name}.md" for name in ("log", "policy", "examples", "glossary")]
PLAIN += sorted(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_every_picture_of_a_notebook_has_an_alternative_text():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                text = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
                assert len(text.split()) > 5, f"{path.name}: {''.join(cell['source'])[-80:]}"


@pytest.mark.parametrize("name", PLAIN)
def test_retired_words_stay_out(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".ipynb"):
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = re.sub(r"\s+", " ", text)
    for pattern in RETIRED:
        found = re.search(rf".{{0,40}}{pattern}.{{0,40}}", text, re.I)
        assert found is None, f"{name}: ...{found and found[0]}..."


def test_the_glossary_is_in_order_and_explains_each_term():
    entries = (
        re.search(r"```\{glossary\}\n(.*?)```", read("reference", "glossary.md"), re.S)[1].strip().split("\n\n")
    )
    terms = [entry.splitlines()[0] for entry in entries]
    assert terms == sorted(terms, key=str.lower)
    assert all(entry.splitlines()[1].startswith("  ") for entry in entries)
