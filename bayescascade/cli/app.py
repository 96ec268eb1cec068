"""The command line: each command reads, calls the public functions, and writes. Nothing is computed here.

Only Typer is imported at the top, so that ``--help`` does not wait for PyMC.
"""

from __future__ import annotations

import _thread
import errno
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bayescascade.cli import (
    choosing,
    decisions,
    explaining,
    running,
    serving,
    tables,
    tenants,
    terminal,
    updating,
    watching,
)
from bayescascade.cli import compare as comparing
from bayescascade.cli.face import CommandLine
from bayescascade.cli.log_options import LogOptions, reads_a_log
from bayescascade.cli.options import (
    CalibrationName,
    Command,
    CopulaNames,
    Difficulty,
    FitFile,
    Json,
    Kind,
    LogFiles,
    MarginName,
    MaxQueries,
    NumberOfChains,
    NumberOfDraws,
    Seed,
    Stages,
    TargetAccept,
    Task,
    TuningSteps,
    a_log,
    file_in,
    file_out,
    fit_of,
    keep_inputs,
    leave_room,
    log_for,
    page,
    refuse_with_previous,
)
from bayescascade.cli.parsing import copula_of, names_of
from bayescascade.cli.reading import read as reading_command
from bayescascade.errors import CascadeError, render

# What the demo asks of the embedded example, and the share of it that is kept back for scoring.
DEMO_MAX_ERROR, DEMO_PROB, DEMO_TEST_SHARE = 0.35, 0.9, 1 / 3


class _Commands(TyperGroup):
    """Turn mistakes and interrupts into one sentence and an exit code, for every command alike.

    Who asked for JSON gets the sentence as JSON, too.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        leave_room(self.get_params(ctx))
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["typed"] = list(args)  # noted here, because options are often what is wrong
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = CommandLine(self.commands.values())
        terminal.never_fail()
        try:
            with terminal.remarks(ctx.obj):
                return super().invoke(ctx)
        except typer.TyperException as error:  # a wrong option or argument
            where = getattr(getattr(error, "ctx", None), "command_path", "bayescascade")
            share = _share_meant(getattr(error, "param", None), ctx.meta["typed"])
            message = f"{error.format_message().rstrip('. ')}{share}. See `{where} --help`."
        except CascadeError as error:
            message = error.render(ctx.obj)
        except OSError as error:
            if error.errno == errno.EPIPE:  # `| head` is no mistake; Typer knows what to do
                raise
            where = f"{error.filename}: " if error.filename else ""
            message = f"{where}{error.strerror or error}."
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError):  # a fault of ours
                raise
            message = f"{error}."  # a package that an extra brings
        except KeyboardInterrupt:
            terminal.say("Interrupted; no half-written file is left.")
            raise typer.Exit(terminal.INTERRUPTED) from None
        terminal.error(message)
        if "--json" in ctx.meta["typed"]:
            terminal.emit({"error": message})
        raise typer.Exit(terminal.MISTAKE)


_PER_CENT = re.compile(r"([\d.]*\d) ?%")


def _share_meant(param: Any, typed: list[str]) -> str:
    """What to write in the place of a per cent, where an option that is wrong came as one."""
    names = set(getattr(param, "opts", ()))
    for name, value in (*pairwise(typed), *(word.split("=", 1) for word in typed if "=" in word)):
        found = _PER_CENT.fullmatch(value) if name in names else None
        if found:
            return f"; write {name} {float(found[1]) / 100:.6g} in place of {value}"
    return ""


app = typer.Typer(
    cls=_Commands,
    name="bayescascade",
    help="Bayesian tuning of language model cascades: from a log to thresholds, with honest uncertainty.",
    context_settings={"help_option_names": ["-h", "--help"]},
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


# ---- commands, in the order of the help, which shows them in these groups

MAIN, CLOSER = "From a log to thresholds", "Look closer"
AT_WORK, TENANTS, TRY = "Run it, and watch it", "Many tenants", "Try it"


def _add(group: str, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return app.command(name, cls=Command, rich_help_panel=group)


_add(MAIN)(reading_command)


@_add(MAIN)
@reads_a_log
def fit(
    ctx: typer.Context,
    log: LogFiles,
    output: Annotated[Path, file_out("Output file for the fit (netCDF), e.g. fit.nc.")],
    reading: LogOptions,
    kind: Kind = None,
    stages: Stages = None,
    copula: CopulaNames = None,
    margin: MarginName = "polya_tree",
    calibration: CalibrationName = "logistic",
    difficulty: Difficulty = True,
    previous: Annotated[
        Path | None, file_in("Update this fit; LOG then contains only new queries.", metavar="FIT")
    ] = None,
    draws: NumberOfDraws = 1000,
    tune: TuningSteps = 200,
    max_queries: MaxQueries = 5000,
    chains: NumberOfChains = 4,
    target_accept: TargetAccept = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit the model to a log of queries and save the posterior."""
    keep_inputs((log, previous), output)
    options: dict[str, Any] = {"tune": tune, "target_accept": target_accept, "random_seed": seed}
    wanted = names_of(stages)
    if previous is not None:
        refuse_with_previous(
            ctx, "copula", "margin", "calibration", "difficulty", "draws", "chains", "max_queries"
        )
    import bayescascade as bc

    if previous is None:
        options |= {"copula": copula and copula_of(copula), "margin": margin, "calibration": calibration}
        options |= {"difficulty": difficulty}
        options |= {"draws": draws, "chains": chains, "max_queries": max_queries}
        work = f"Fitting: {chains} chains x {draws:,} draws (the first run also compiles, about 2 min)"
    else:
        options["previous"] = bc.load_fit(previous)
        wanted = wanted or [str(name) for name in options["previous"]["observed_data"]["stage"].values]
        work = f"Updating {previous}"
    data = bc.read_log(log, confidence_kind=kind, stages=wanted, labels=previous is None, **reading.arguments())
    terminal.say(terminal.describe(data))
    with terminal.working(work):
        posterior = bc.fit(data, progressbar=False, **options)
    done = terminal.written(output)
    bc.save_fit(posterior, output)
    compared = posterior["comparison"].to_dataset() if "comparison" in posterior.children else None
    if compared is not None and not as_json:
        terminal.show(tables.comparison_table(compared))
    if previous is not None and not as_json:
        terminal.tell(tables.update_text(posterior.attrs))
    tasks = terminal.tasks_of(data)
    fitted, checks = posterior.children.get("posterior"), None
    # checks are of one task at a time; an update may bring queries of one task to a fit of several
    if fitted is None or "task" not in fitted.dims:
        with terminal.working("Checking the fit against its log"):
            checks = bc.check(posterior)
        for result in (result for result in checks if result.passed is False):
            terminal.say(f"Check failed: {result.name}. {render(result.text, ctx.obj)}")
    if as_json:
        sizes = {"queries": int(data.sizes["query"]), "stages": [str(name) for name in data["stage"].values]}
        told = None if checks is None else choosing.checks_content(checks)
        terminal.emit({"fit": str(output), **sizes, "tasks": tasks, "checks": told})
        return
    choice = f" --task {shlex.quote(next(iter(tasks)))}" if len(tasks) > 1 else ""
    typer.echo(f"{done}. Next: bayescascade tune {_quoted(output)}{choice} --max-error 0.2 -o policy.json")


_add(MAIN)(choosing.tune)
_add(MAIN)(decisions.score)
_add(MAIN)(explaining.explain)
_add(CLOSER)(decisions.check)
_add(CLOSER)(decisions.verdict)
_add(CLOSER)(decisions.labels)
_add(CLOSER)(decisions.sensitivity)
_add(CLOSER)(comparing.compare)


@_add(MAIN)
@reads_a_log
def report(
    fit_file: FitFile,
    output: Annotated[Path, file_out("Output file for the page (HTML), e.g. report.html.", page)],
    reading: LogOptions,
    policy: Annotated[Path | None, file_in("Policy file: report on its thresholds.", metavar="POLICY")] = None,
    test: Annotated[Path | None, file_in("Test log: queries that the fit has not seen.", metavar="LOG")] = None,
    label_value: Annotated[
        bool, typer.Option("--label-value", help="Also say what more labels are worth (takes some minutes).")
    ] = False,
    task: Task = None,
    as_json: Json = False,
) -> None:
    """Write a report: one page with the recommendation, the frontier to explore, and the checks of a fit."""
    if label_value and policy is None:
        raise CascadeError("--label-value goes with --policy: its goal says what an error is worth.")
    if test is not None and policy is None:
        raise CascadeError("--test goes with --policy: there are no thresholds to score without one.")
    keep_inputs((fit_file, policy, test), output)
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    options: dict[str, Any] = {"labels": True} if label_value else {}
    # a file that is called as in the examples says nothing of its log
    options["name"] = task or (fit_file.stem if fit_file.stem != "fit" else None)
    if policy is not None:
        chosen = bc.Policy.load(policy)
        options["thresholds"] = chosen
        if test is not None:
            options["test"] = log_for(test, chosen, reading, task)
    done = terminal.written(output)
    with terminal.working("Writing the report"):
        bc.report(posterior, output, **options)
    if as_json:
        terminal.emit({"report": str(output)})
        return
    typer.echo(f"{done}.")


_add(AT_WORK)(running.run)
_add(AT_WORK)(updating.update)
_add(AT_WORK)(updating.diff)
_add(AT_WORK)(serving.serve)
_add(AT_WORK)(serving.export)
_add(TENANTS, "fit-tasks")(tenants.fit_tasks)
_add(TENANTS, "tune-tasks")(tenants.tune_tasks)
_add(TENANTS, "report-tasks")(tenants.report_tasks)
_add(AT_WORK)(watching.verify)
_add(AT_WORK)(watching.monitor)


@_add(TRY)
def simulate(
    output: Annotated[Path, file_out("Output file for the log: .parquet or .csv.", a_log)],
    queries: Annotated[int, typer.Option(min=1, help="Queries.")] = 300,
    n_stages: Annotated[int, typer.Option(min=2, help="Number of stages.")] = 3,
    labelled: Annotated[
        int | None, typer.Option(min=1, help="Queries that keep their label.", show_default="all")
    ] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Draw a log from the model with known parameters, to try things out."""
    import bayescascade as bc

    log = bc.simulate(queries, n_stages=n_stages, n_labelled=labelled, random_seed=seed)
    done = terminal.written(output)
    bc.write_log(log, output)
    if as_json:
        terminal.emit({"log": str(output), "queries": queries, "confidence_kind": log.attrs["confidence_kind"]})
        return
    typer.echo(f"{done}. Next: bayescascade fit {terminal.log_words(log, output)} -o fit.nc")


@_add(TRY)
def demo(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Folder for what the demo writes.")
    ] = Path("bayescascade-demo"),
    as_json: Json = False,
) -> None:
    """Run everything on the bundled example, and say what to look at."""
    output.mkdir(parents=True, exist_ok=True)
    import bayescascade as bc

    log = bc.load_example()
    n_test = int(log.sizes["query"] * DEMO_TEST_SHARE)
    train, test = log.isel(query=slice(n_test, None)), log.isel(query=slice(n_test))
    bc.write_log(log, output / "log.csv")
    terminal.say(f"{terminal.describe(log)}; {n_test} queries are kept back for scoring.")
    with terminal.working("Fitting: 4 chains x 1,000 draws (the first run also compiles, about 2 min)"):
        posterior = bc.fit(train, random_seed=1, progressbar=False)
    bc.save_fit(posterior, output / "fit.nc")
    with terminal.working(f"Tuning: error at most {DEMO_MAX_ERROR:.0%} with probability {DEMO_PROB:.0%}"):
        solution = bc.tune(posterior, max_error=DEMO_MAX_ERROR, prob=DEMO_PROB)
    with terminal.working("Checking the fit"):
        checks = bc.check(posterior, thresholds=solution)
    policy = solution.to_policy(output / "policy.json")
    scored = bc.score(test, solution)
    with terminal.working("Writing the report"):
        bc.report(posterior, output / "report.html", solution=solution, log=train, test=test, name="The example")
    if as_json:
        told = choosing.content(solution, checks, output / "policy.json")
        terminal.emit(told | {"score": decisions.score_content(scored), "folder": str(output)})
        return
    choosing.show_answer(solution, checks, ctx.obj, None)
    print()
    decisions.show_score(scored, "On queries that the fit has not seen")
    typer.echo(
        f"\nIn {output}:\n"
        "  report.html   open this first: the answer, how good it is, the trade-off\n"
        "  policy.json   the thresholds; a service loads it with bayescascade.Policy.load\n"
        "  fit.nc        the posterior, for bayescascade.load_fit and ArviZ\n"
        "  log.csv       the log it all came from\n"
        f"Your own log: bayescascade fit LOG --kind {policy.confidence_kind} --cost COLUMN -o fit.nc"
    )


def main() -> None:
    """Run the command line (the ``bayescascade`` script)."""
    # an exit runs what cleans up, where the signal itself would leave half-written files behind
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.unraisablehook = _interrupt_again
    app(prog_name="bayescascade")


def _interrupt_again(unraisable: Any) -> None:
    """Ctrl-C that falls into a callback of C code, as the compiler has them, is dropped there: ask again."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        threading.Timer(0.05, _thread.interrupt_main).start()  # at once it would fall into this function
    else:
        sys.__unraisablehook__(unraisable)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
