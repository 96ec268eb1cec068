"""Commands for continuous integration and for cron: is a policy still what it was? `cli` puts them on the line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade.cli import terminal
from bayescascade.cli.log_options import LogOptions, reads_a_log
from bayescascade.cli.options import Json, LogFiles, TaskOfLog, file_out, keep_inputs, log_for
from bayescascade.cli.parsing import names_of
from bayescascade.cli.tables import frame_table
from bayescascade.errors import CascadeError, render

PolicyFile = Annotated[
    Path,
    typer.Argument(metavar="POLICY", exists=True, dir_okay=False, help="Policy file, as `tune -o` writes it."),
]
Output = Annotated[Path | None, file_out("Output file for the results: .json, or a page as .html.")]


@reads_a_log
def verify(
    ctx: typer.Context,
    policy: PolicyFile,
    labelled: LogFiles,
    reading: LogOptions,
    output: Annotated[Path | None, file_out("Output file for the results (.json).")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column that says which slice a query belongs to.", show_default="its task"
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            help="Limit: the share of wrong answers is at most this, e.g. 0.1.",
            show_default="the policy's promise",
        ),
    ] = None,
    prob: Annotated[
        float | None,
        typer.Option(help="Probability with which the limits hold.", show_default="the promise's, or 0.9"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Test on labelled queries whether a policy keeps its promise. Exit code: 0 kept, 1 not kept, 2 unclear."""
    keep_inputs((policy, labelled), output)
    import bayescascade as bc

    chosen = bc.Policy.load(policy)
    log = log_for(labelled, chosen, reading, by=by)
    found = bc.verify(chosen, log, max_error=max_error, prob=prob)
    _end(ctx, found, output, as_json)


@reads_a_log
def monitor(
    ctx: typer.Context,
    policy: PolicyFile,
    served: LogFiles,
    reading: LogOptions,
    output: Output = None,
    level: Annotated[
        float,
        typer.Option(help="Highest probability of a false alarm, over all parts and however often you look."),
    ] = 0.05,
    leave_out: Annotated[
        str | None,
        typer.Option(metavar="PART,...", help="Parts to leave out, e.g. latency,price.", show_default="none"),
    ] = None,
    task: TaskOfLog = None,
    as_json: Json = False,
) -> None:
    """Watch served queries. Exit code: 0 no change found, 1 alarm, 2 nothing to look at."""
    keep_inputs((policy, served), output)
    if output is not None and output.suffix.lower() not in (".json", ".html", ".htm"):
        raise CascadeError(
            f"what was found is written as .json or .html, but the output is called {output.name!r}."
        )
    import bayescascade as bc

    chosen = bc.Policy.load(policy)
    log = log_for(served, chosen, reading, task)
    found = bc.monitor(chosen, log, level=level, leave_out=names_of(leave_out) or [])
    _end(ctx, found, output, as_json)


def _end(ctx: typer.Context, found: Any, output: Path | None, as_json: bool) -> None:
    """Write the file, show the answer and the table, and leave with the exit code."""
    done = None if output is None else terminal.written(output)
    if output is not None:
        found.save(output)
    if as_json:
        terminal.emit(found.to_dict())
        raise typer.Exit(found.exit_code)
    terminal.tell(render(found.text, ctx.obj))
    print()
    terminal.show(frame_table(found.shown()))
    if done is not None:
        typer.echo(f"{done}.")
    raise typer.Exit(found.exit_code)
