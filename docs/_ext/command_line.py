"""The reference of the command line, written from the commands themselves when the pages are built."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

HEAD = """# Command line

```console
$ bayescascade COMMAND --help
```

shows what this page shows. Results go to standard output, progress and remarks to standard error.

| exit code | meaning |
|---|---|
| 0 | Done. |
| 1 | `check --strict`: a check failed. `run`: answers are missing. `verify`: promise not kept. `monitor`: alarm. |
| 2 | A mistake in the input or the options; one sentence says which. `verify`, `monitor`: too little to tell. |
| 3 | `tune`: no thresholds reach the goal. The text names the best limit in reach, and no policy is written. |
| 130, 143 | Interrupted or terminated. No half-written file is left. |
"""


def pages(folder: Path) -> None:
    """Write ``folder/cli.md``: each command with its arguments and options."""
    import typer.main

    from bayescascade.cli.app import app
    from bayescascade.cli.options import _choices, _words

    names = {key: _words(values) for key, values in _choices().items()}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    rows = [f"| [`{name}`](#cli-{name}) | {_first(command)} |" for name, command in commands.items()]
    parts = [HEAD, "\n".join(["| command | what it does |", "|---|---|", *rows])]
    for name, command in commands.items():
        shown = [param for param in command.params if not getattr(param, "hidden", False)]
        arguments = [param for param in shown if not param.opts[0].startswith("-")]
        options = [param for param in shown if param.opts[0].startswith("-")]
        usage = " ".join(["bayescascade", name, *(_metavar(argument) for argument in arguments), "[OPTIONS]"])
        parts += [f"(cli-{name})=\n## {name}", inspect.cleandoc(command.help or ""), f"```text\n{usage}\n```"]
        if arguments:
            parts.append(_table("argument", [(f"`{_metavar(a)}`", _help(a, names), "") for a in arguments]))
        if options:
            parts.append(_table("option", [(_spelling(o), _help(o, names), _default(o)) for o in options]))
    (folder / "cli.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _first(command: Any) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")


def _metavar(param: Any) -> str:
    name = (param.metavar or param.name).upper()
    return f"{name}..." if param.nargs == -1 and not name.endswith("...") else name


def _spelling(option: Any) -> str:
    spelt = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return spelt if option.is_flag or not option.metavar else f"{spelt} `{option.metavar}`"


def _help(param: Any, names: dict[str, str]) -> str:
    text = (param.help or "").replace("\n", " ")
    if "{" in text:
        text = text.format(**names)
    return text.replace("|", "\\|").replace("<", "&lt;") + (" Required." if param.required else "")


def _default(param: Any) -> str:
    shown = param.show_default
    if isinstance(shown, str):
        return shown
    if param.required or shown is False or param.default in (None, False) or callable(param.default):
        return ""
    value = param.default
    return f"`{' '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def _table(head: str, rows: list[tuple[str, str, str]]) -> str:
    if not any(default for _, _, default in rows):
        return "\n".join([f"| {head} | |", "|---|---|", *(f"| {name} | {text} |" for name, text, _ in rows)])
    lines = [f"| {head} | | default |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {text} | {default} |" for name, text, default in rows)])
