"""Commands that bring a policy up to date and compare it with another; `cli` puts them on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade.cli import terminal
from bayescascade.cli.log_options import LogOptions, reads_a_log
from bayescascade.cli.options import Json, LogFiles, Seed, Task, file_out, fit_of, keep_inputs, writable
from bayescascade.cli.tables import diff_tables, update_text
from bayescascade.errors import CascadeError, render


def _policy(text: str) -> Any:
    return typer.Argument(metavar="POLICY", exists=True, dir_okay=False, help=text)


@reads_a_log
def update(
    ctx: typer.Context,
    policy: Annotated[Path, _policy("The policy in use, written by `bayescascade tune`.")],
    log: LogFiles,
    fit_file: Annotated[
        Path,
        typer.Option(
            "--fit", exists=True, dir_okay=False, help="Fit under which the policies are compared.", metavar="FIT"
        ),
    ],
    reading: LogOptions,
    output: Annotated[Path | None, file_out("Output file for the proposed policy, e.g. proposed.json.")] = None,
    fit_output: Annotated[
        Path | None,
        typer.Option("--fit-output", metavar="FILE", callback=writable, help="Output file for the updated fit."),
    ] = None,
    old_share: Annotated[
        float, typer.Option(help="Share of the earlier queries to keep; below 1 they count for less.")
    ] = 1.0,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Add new queries to a fit, and compare the policy in use with newly tuned thresholds.

    The policy in use is not changed.
    """
    keep_inputs((policy, log, fit_file), output, fit_output)
    import bayescascade as bc

    chosen, posterior = bc.Policy.load(policy), bc.load_fit(fit_file)
    names = [str(name) for name in posterior["observed_data"].to_dataset()["stage"].values]
    data = bc.read_log(
        log, confidence_kind=chosen.confidence_kind, stages=names, labels=False, **reading.arguments()
    )
    terminal.say(terminal.describe(data))
    with terminal.working("Updating the fit and tuning again"):
        found = bc.propose(posterior, data, chosen, old_share=old_share, random_seed=seed, progressbar=False)
    if fit_output is not None:
        bc.save_fit(found.fit, fit_output)
    told = update_text(found.fit.attrs)
    written = {"policy": output and str(output), "fit": fit_output and str(fit_output)}
    if found.policy is None or found.diff is None:
        if as_json:
            terminal.emit({"feasible": False, "update": told, "text": render(found.text, ctx.obj), **written})
        else:
            terminal.tell(told)
        terminal.say(render(found.text, ctx.obj))
        if output is not None:
            terminal.say(terminal.not_written(output))
        raise typer.Exit(terminal.INFEASIBLE)
    if output is not None:
        done = terminal.written(output)
        found.policy.save(output)
    if as_json:
        terminal.emit({"feasible": True, "update": told, **found.diff.to_dict(), **written})
        return
    terminal.tell(told)
    _show(found.diff)
    if output is not None:
        terminal.tell(f"{done}. The policy in use is unchanged; replace it with the new one if you agree.")
    else:
        typer.echo("No policy was written; name one with -o proposed.json.")


def diff(
    old: Annotated[Path, _policy("The policy in use.")],
    new: Annotated[Path, _policy("The policy to compare it with.")],
    fit_file: Annotated[
        Path | None,
        typer.Option(
            "--fit", exists=True, dir_okay=False, help="Fit under which the policies are compared.", metavar="FIT"
        ),
    ] = None,
    task: Task = None,
    as_json: Json = False,
) -> None:
    """Compare two policies: their thresholds and, with a fit, the change in error and cost and how sure it is."""
    import bayescascade as bc

    if task is not None and fit_file is None:
        raise CascadeError("--task goes with --fit: two policy files have no tasks.")
    posterior = None if fit_file is None else fit_of(fit_file, task)
    found = bc.diff(bc.Policy.load(old), bc.Policy.load(new), fit=posterior)
    if as_json:
        terminal.emit(found.to_dict())
        return
    _show(found)


def _show(found: Any) -> None:
    """The comparison on the terminal: in words, and as tables."""
    terminal.tell(found.text)
    print()
    thresholds, amounts = diff_tables(found)
    terminal.show(thresholds, "", amounts)
