"""The command line: each command reads, calls the public functions, and writes. Nothing is computed here.

Only Typer is imported at the top, so that ``--help`` does not wait for PyMC.
"""

from __future__ import annotations

import errno
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bayescascade.cli import compare as comparing
from bayescascade.cli import decisions, reading, running, serving, terminal, updating, watching
from bayescascade.cli.face import CommandLine
from bayescascade.cli.options import (
    Cost,
    FitFile,
    Grades,
    Kind,
    LogFile,
    Seed,
    Stages,
    Task,
    TaskColumn,
    WithChoices,
    a_log,
    copula_of,
    cost_of,
    file_in,
    file_out,
    fit_of,
    grades_of,
    keep_inputs,
    log_for,
    names_of,
    page,
    refuse_with_previous,
)
from bayescascade.errors import CascadeError, render

# What the demo asks of the embedded example, and the share of it that is kept back for scoring.
DEMO_MAX_ERROR, DEMO_PROB, DEMO_TEST_SHARE = 0.35, 0.9, 1 / 3


MOST_DRAWS = 1_000_000  # the sampler ends the process where its memory does


class _Commands(TyperGroup):
    """Turn mistakes and interrupts into one sentence and an exit code, for every command alike."""

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = CommandLine(self.commands.values())
        terminal.never_fail()
        try:
            with terminal.remarks(ctx.obj):
                return super().invoke(ctx)
        except typer.TyperException as error:  # a wrong option or argument
            where = getattr(getattr(error, "ctx", None), "command_path", "bayescascade")
            message = f"{error.format_message().rstrip('. ')}. See `{where} --help`."
        except CascadeError as error:
            message = error.render(ctx.obj)
        except OSError as error:
            if error.errno == errno.EPIPE:  # `| head` is no mistake; Typer knows what to do
                raise
            message = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
        except KeyboardInterrupt:
            terminal.say("Interrupted; no half-written file is left.")
            raise typer.Exit(terminal.INTERRUPTED) from None
        typer.echo(f"{typer.style('Error:', fg='red', bold=True)} {message}", err=True)
        raise typer.Exit(terminal.MISTAKE)


app = typer.Typer(
    cls=_Commands,
    name="bayescascade",
    help="Bayesian tuning of language model cascades: from a log to thresholds, with honest uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bayescascade {version('bayescascade')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command(cls=WithChoices)
def fit(
    ctx: typer.Context,
    log: LogFile,
    output: Annotated[Path, file_out("Where the fit goes (netCDF), e.g. fit.nc.")],
    kind: Kind = None,
    cost: Cost = "cost",
    stages: Stages = None,
    grades: Grades = None,
    task_column: TaskColumn = None,
    copula: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY[,...]",
            help="Family of the links between stages, or one for each: {families}; auto takes the best of each "
            "link. Default: gaussian, or gumbel with --no-difficulty.",
        ),
    ] = None,
    margin: Annotated[str, typer.Option(help="Distribution of a stage's confidences: {margins}.")] = "polya_tree",
    calibration: Annotated[
        str, typer.Option(help="From confidence to the probability of being right: {calibrations}.")
    ] = "logistic",
    difficulty: Annotated[
        bool,
        typer.Option(
            help="Give each query a difficulty, which lowers its confidences and its accuracy. Without it, the "
            "model is the published Markov copula."
        ),
    ] = True,
    previous: Annotated[
        Path | None, file_in("Update this fit; LOG then holds new queries only.", metavar="FIT")
    ] = None,
    draws: Annotated[int, typer.Option(min=4, max=MOST_DRAWS, help="Draws kept from each chain.")] = 1000,
    tune: Annotated[int, typer.Option(min=10, max=MOST_DRAWS, help="Tuning steps, thrown away.")] = 200,
    chains: Annotated[int, typer.Option(min=1, max=1000, help="Chains.")] = 4,
    target_accept: Annotated[
        float | None,
        typer.Option(
            help="Acceptance rate the sampler aims at; nearer to 1 against divergences.",
            show_default="0.9, or 0.8 with --no-difficulty",
        ),
    ] = None,
    seed: Seed = None,
) -> None:
    """Fit the model to a log of queries and save the posterior."""
    keep_inputs((log, previous), output)
    options: dict[str, Any] = {"tune": tune, "target_accept": target_accept, "random_seed": seed}
    wanted = names_of(stages)
    if previous is not None:
        refuse_with_previous(ctx, "copula", "margin", "calibration", "difficulty", "draws", "chains")
    import bayescascade as bc

    if previous is None:
        options |= {"copula": copula and copula_of(copula), "margin": margin, "calibration": calibration}
        options |= {"difficulty": difficulty}
        options |= {"draws": draws, "chains": chains}
        work = f"Fitting, {chains} x {draws} draws (a first fit compiles too: two minutes)"
    else:
        options["previous"] = bc.load_fit(previous)
        wanted = wanted or [str(name) for name in options["previous"]["observed_data"]["stage"].values]
        work = f"Updating {previous}"
    columns: dict[str, Any] = {"cost": cost_of(cost), "task": task_column, "grades": grades_of(grades)}
    data = bc.read_log(log, confidence_kind=kind, stages=wanted, labels=previous is None, **columns)
    terminal.say(terminal.describe(data))
    with terminal.working(work):
        posterior = bc.fit(data, progressbar=False, **options)
    bc.save_fit(posterior, output)
    if "comparison" in posterior.children:
        terminal.show(terminal.comparison_table(posterior["comparison"].to_dataset()))
    if previous is not None:
        typer.echo(terminal.update_text(posterior.attrs))
    tasks = terminal.tasks_of(data)
    fitted = posterior.children.get("posterior")
    # checks are of one task at a time; an update may bring queries of one task to a fit of several
    if fitted is None or "task" not in fitted.dims:
        with terminal.working("Checking the fit against its log"):
            failed = [result for result in bc.check(posterior) if result.passed is False]
        for result in failed:
            terminal.say(f"The fit failed the check of {result.name}. {render(result.text, ctx.obj)}")
    choice = f" --task {shlex.quote(next(iter(tasks)))}" if len(tasks) > 1 else ""
    typer.echo(f"Wrote {output}. Next: bayescascade tune {_quoted(output)}{choice} --max-error 0.2 -o policy.json")


app.command()(decisions.tune)
app.command(cls=WithChoices)(decisions.score)
app.command()(decisions.check)
app.command()(decisions.verdict)
app.command()(decisions.labels)
app.command()(decisions.sensitivity)
app.command(cls=WithChoices)(comparing.compare)


@app.command()
def report(
    fit_file: FitFile,
    output: Annotated[Path, file_out("Where the page goes (HTML), e.g. report.html.", page)],
    policy: Annotated[
        Path | None, file_in("Put this policy's thresholds at the head of the page.", metavar="POLICY")
    ] = None,
    test: Annotated[Path | None, file_in("A log the fit has not seen: score the policy on it.")] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Say what more labels are worth, too (takes half a minute).")
    ] = False,
    cost: Cost = "cost",
    grades: Grades = None,
    task: Task = None,
    task_column: TaskColumn = None,
) -> None:
    """Write a page with the answer, the frontier to explore, the checks and the calibration of a fit."""
    if labels and policy is None:
        raise CascadeError("--labels goes with --policy: its goal says what an error is worth.")
    if test is not None and policy is None:
        raise CascadeError("--test goes with --policy: there are no thresholds to score without one.")
    keep_inputs((fit_file, policy, test), output)
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    options: dict[str, Any] = {"labels": True} if labels else {}
    if policy is not None:
        chosen = bc.Policy.load(policy)
        options["thresholds"] = chosen
        if test is not None:
            options["test"] = log_for(test, chosen, cost, task, task_column, grades)
    with terminal.working("Writing the report"):
        bc.report(posterior, output, **options)
    typer.echo(f"Wrote {output}.")


app.command()(running.run)
app.command(cls=WithChoices)(updating.update)
app.command()(updating.diff)
app.command()(serving.serve)
app.command()(serving.export)
app.command(cls=WithChoices)(watching.verify)
app.command(cls=WithChoices)(watching.monitor)
app.command(cls=WithChoices)(reading.read)  # after `report`, whose --labels is the one that messages speak of


@app.command()
def simulate(
    output: Annotated[Path, file_out("Where the log goes: .parquet or .csv.", a_log)],
    queries: Annotated[int, typer.Option(min=1, help="Queries.")] = 300,
    stages: Annotated[int, typer.Option(min=2, help="Stages.")] = 3,
    labelled: Annotated[
        int | None, typer.Option(min=1, help="Queries that keep their label.", show_default="all")
    ] = None,
    seed: Seed = None,
) -> None:
    """Draw a log from the model with known parameters, to try things on."""
    import bayescascade as bc

    log = bc.simulate(queries, n_stages=stages, n_labelled=labelled, random_seed=seed)
    bc.write_log(log, output)
    typer.echo(f"Wrote {output}. Next: bayescascade fit {terminal.log_words(log, output)} -o fit.nc")


@app.command()
def demo(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for what the demo writes.")] = Path(
        "bayescascade-demo"
    ),
) -> None:
    """Run the whole job on the embedded example, and say what to look at."""
    out.mkdir(parents=True, exist_ok=True)
    import bayescascade as bc

    log = bc.load_example()
    n_test = int(log.sizes["query"] * DEMO_TEST_SHARE)
    train, test = log.isel(query=slice(n_test, None)), log.isel(query=slice(n_test))
    bc.write_log(log, out / "log.csv")
    typer.echo(f"{terminal.describe(log)}; {n_test} queries are kept back for scoring.")
    with terminal.working("Fitting, 4 x 1000 draws (a first fit compiles too: two minutes)"):
        posterior = bc.fit(train, random_seed=1, progressbar=False)
    bc.save_fit(posterior, out / "fit.nc")
    with terminal.working("Checking the fit"):
        checks = list(bc.check(posterior))
    with terminal.working(f"Tuning: error at most {DEMO_MAX_ERROR:g} with probability {DEMO_PROB:g}"):
        solution = bc.tune(posterior, max_error=DEMO_MAX_ERROR, prob=DEMO_PROB)
    policy = solution.to_policy(out / "policy.json")
    scored = bc.score(test, solution)
    with terminal.working("Writing the report"):
        bc.report(posterior, out / "report.html", solution=solution, log=train, test=test)

    terminal.show(
        terminal.checks_table(checks, ctx.obj),
        terminal.thresholds_table(solution, policy.confidence_kind),
        terminal.expected_table(solution),
        *terminal.score_lines(scored, f"The same policy on the {n_test} queries kept back"),
    )
    typer.echo(render(solution.text, ctx.obj))
    kind = policy.confidence_kind
    typer.echo(
        f"\nIn {out}:\n"
        "  report.html   open this first: is the fit to be believed, and what does the frontier offer?\n"
        "  policy.json   the thresholds; a service loads it with bayescascade.Policy.load\n"
        "  fit.nc        the posterior, for bayescascade.load_fit and ArviZ\n"
        "  log.csv       the log it all came from\n"
        f"Your own log: bayescascade fit LOG --kind {kind} --cost COLUMN -o fit.nc"
    )


def main() -> None:
    """Run the command line (the ``bayescascade`` script)."""
    # an exit runs what cleans up, where the signal itself would leave half-written files behind
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    app(prog_name="bayescascade")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
