"""The command line's own names for the arguments and functions that a message of the package speaks of."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from bayescascade.errors import Blank, legible

# Arguments whose option is called otherwise; all others are found by their own name.
RENAMED = {
    "task": "task_column",
    "random_seed": "seed",
    "confidence_kind": "kind",
    "n_queries": "queries",
    "n_labelled": "labelled",
    "thresholds": "policy",
    "labels": "label_value",
    "metric": "score",
    "format": "format_",
    "client": "scheduler",
}
CALLS = {
    "fit": "`bayescascade fit`",
    "check": "`bayescascade check`",
    "fit_tasks": "`bayescascade fit-tasks`",
    "tune_tasks": "`bayescascade tune-tasks`",
    "save_fit": "`bayescascade fit`",
    "Policy.save": "`bayescascade tune -o`",
    "ThresholdSolution.to_policy": "`bayescascade tune -o`",
    "select_task": "--task",
    "bayescascade.logs.texts.with_prompts": "--prompts",
}


class CommandLine:
    """Options and commands for Python's arguments and functions.

    Examples
    --------
    >>> import typer.main
    >>> from bayescascade.cli.app import app
    >>> from bayescascade.cli.face import CommandLine
    >>> from bayescascade.errors import bad_value
    >>> face = CommandLine(typer.main.get_command(app).commands.values())
    >>> bad_value("random_seed", -1, "give a number of at least 0").render(face)
    '--seed -1 is not allowed; give a number of at least 0.'
    """

    def __init__(self, commands: Iterable[Any]) -> None:
        self._params: dict[str, Any] = {}
        for command in commands:
            for param in command.params:
                if param.opts[0].startswith("--"):
                    self._params.setdefault(param.name, param)

    def option(self, name: str, value: object) -> str:
        """The option of an argument and its value as they are typed."""
        param = self._params.get(RENAMED.get(name, name))
        if param is not None and param.is_flag:
            return str(param.secondary_opts[0] if value is False and param.secondary_opts else param.opts[0])
        words = [name if param is None else param.opts[0]]
        if _is_blank(value):
            words.append((param and param.metavar) or "...")
        elif repr(value):
            words.append(shlex.quote(legible(_typed(value))))
        return " ".join(words)

    def call(self, name: str, arguments: str, value: object) -> str:
        """The command, or the option, that does what a function does."""
        words = [CALLS.get(name, name)]
        if repr(value):
            words.append(shlex.quote(legible(_typed(value))))
        return " ".join(words)


def _is_blank(value: object) -> bool:
    return isinstance(value[0] if isinstance(value, list) and value else value, Blank)


def _typed(value: object) -> str:
    """A value as it is typed: lists with commas, lists of lists with semicolons, prices as name=price."""
    if isinstance(value, Mapping):
        return ",".join(
            f"{name}={'PRICE' if _is_blank(price) else '' if price is None else price}"
            for name, price in value.items()
        )
    if isinstance(value, list | tuple):
        if any(isinstance(item, list | tuple) for item in value):
            return ";".join(map(_typed, value))
        return ",".join(f'"{word}"' if "," in word else word for word in map(_typed, value))
    return str(value)
