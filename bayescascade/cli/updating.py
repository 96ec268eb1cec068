"""Commands that bring a policy up to date and compare it with another; `cli` puts them on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade._common.files import write_json
from bayescascade.cli import terminal
from bayescascade.cli.options import (
    Cost,
    Grades,
    LogFile,
    Seed,
    Task,
    TaskColumn,
    cost_of,
    file_out,
    fit_of,
    grades_of,
    keep_inputs,
    writable,
)
from bayescascade.errors import CascadeError, render

_JSON = typer.Option("--json", metavar="FILE", callback=writable, help="Where the comparison goes as JSON.")


def _policy(text: str) -> Any:
    return typer.Argument(metavar="POLICY", exists=True, dir_okay=False, help=text)


def update(
    ctx: typer.Context,
    policy: Annotated[Path, _policy("The policy in use, written by `bayescascade tune`.")],
    log: LogFile,
    fit_file: Annotated[Path, typer.Option("--fit", exists=True, dir_okay=False, help="What it was tuned on.")],
    output: Annotated[Path | None, file_out("Where the proposed policy goes, e.g. proposed.json.")] = None,
    fit_output: Annotated[
        Path | None,
        typer.Option("--fit-output", metavar="FILE", callback=writable, help="Where the updated fit goes."),
    ] = None,
    json_file: Annotated[Path | None, _JSON] = None,
    old_share: Annotated[
        float, typer.Option(help="Share of the earlier queries to keep; below 1 they count for less.")
    ] = 1.0,
    cost: Cost = "cost",
    grades: Grades = None,
    task_column: TaskColumn = None,
    seed: Seed = None,
) -> None:
    """Add new queries to a fit, and propose thresholds beside those of the policy in use. Nothing is applied."""
    keep_inputs((policy, log, fit_file), output, fit_output, json_file)
    import bayescascade as bc

    chosen, posterior = bc.Policy.load(policy), bc.load_fit(fit_file)
    columns: dict[str, Any] = {"cost": cost_of(cost), "task": task_column, "grades": grades_of(grades)}
    names = [str(name) for name in posterior["observed_data"].to_dataset()["stage"].values]
    data = bc.read_log(log, confidence_kind=chosen.confidence_kind, stages=names, labels=False, **columns)
    terminal.say(terminal.describe(data))
    with terminal.working("Updating the fit and tuning again"):
        found = bc.propose(posterior, data, chosen, old_share=old_share, random_seed=seed, progressbar=False)
    if fit_output is not None:
        bc.save_fit(found.fit, fit_output)
    typer.echo(terminal.update_text(found.fit.attrs))
    if found.policy is None or found.diff is None:
        terminal.say(render(found.text, ctx.obj))
        raise typer.Exit(terminal.INFEASIBLE)
    if output is not None:
        found.policy.save(output)
    _show(found.diff, json_file)
    if output is not None:
        typer.echo(f"Wrote {output}. The policy in use is as it was; put the new one in its place when you agree.")
    else:
        typer.echo("No policy was written; name one with -o proposed.json.")


def diff(
    old: Annotated[Path, _policy("The policy in use.")],
    new: Annotated[Path, _policy("The policy to compare it with.")],
    fit_file: Annotated[
        Path | None, typer.Option("--fit", exists=True, dir_okay=False, help="Judge both by this fit.")
    ] = None,
    json_file: Annotated[Path | None, _JSON] = None,
    task: Task = None,
) -> None:
    """Compare two policies: thresholds, and with a fit how error and cost change and how sure that is."""
    keep_inputs((old, new, fit_file), json_file)
    import bayescascade as bc

    if task is not None and fit_file is None:
        raise CascadeError("--task goes with --fit: two policy files have no tasks.")
    posterior = None if fit_file is None else fit_of(fit_file, task)
    _show(bc.diff(bc.Policy.load(old), bc.Policy.load(new), fit=posterior), json_file)


def _show(found: Any, json_file: Path | None) -> None:
    """The comparison on the terminal, and as JSON where that is asked for."""
    if json_file is not None:
        write_json(json_file, found.to_dict(), "the comparison")
    terminal.show(*terminal.diff_tables(found))
    typer.echo(found.text)
