"""The command that says a policy file in words; `app` puts it on the command line."""

from __future__ import annotations

import typer

from bayescascade.cli import terminal
from bayescascade.cli.options import Json, PolicyFile
from bayescascade.cli.terminal import table


def explain(ctx: typer.Context, policy: PolicyFile, as_json: Json = False) -> None:
    """Say in words what a policy file does, what it promises, and what it was made from."""
    from bayescascade.runtime.explain import explain as told
    from bayescascade.runtime.policy import Policy

    chosen = Policy.load(policy)
    found = told(chosen)
    if as_json:
        terminal.emit({"rules": [rule._asdict() for rule in found.rules], **dict(found.facts)})
        return
    terminal.tell(found.lead)
    print()
    terminal.show(table("", found.head, found.rows, words=(0, 1)))
    print()
    terminal.facts(found.facts)
