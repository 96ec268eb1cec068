"""Commands for many tenants: a fit and a policy for each; `cli` puts them on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade.cli import terminal
from bayescascade.cli.choosing import NO_GOAL
from bayescascade.cli.log_options import Cost, Grades, PassMark
from bayescascade.cli.options import (
    ERROR_PRICE,
    AbstainPrice,
    CopulaNames,
    Difficulty,
    Json,
    Kind,
    LogFiles,
    MaxCost,
    MaxError,
    NumberOfChains,
    NumberOfDraws,
    Prob,
    Seed,
    Stages,
    file_out,
    given,
    page,
)
from bayescascade.cli.parsing import copula_of, cost_of, grades_of, names_of
from bayescascade.cli.tables import tenants_table
from bayescascade.errors import CascadeError

SCHEDULER = typer.Option(
    "--scheduler",
    metavar="ADDRESS",
    help="Scheduler of a Dask cluster, e.g. tcp://10.0.0.1:8786.",
    show_default="workers on this machine",
)
WORKERS = typer.Option(min=1, help="Worker processes on this machine, if no scheduler is given.")


def _folder_out(text: str) -> Any:
    return typer.Option("--output", "-o", file_okay=False, help=text)


def fit_tasks(
    logs: LogFiles,
    output: Annotated[
        Path, _folder_out("Folder for the fits. If it already has some, the run continues from there.")
    ],
    by: Annotated[str, typer.Option("--by", metavar="COLUMN", help="Column that names the tenants.")] = "task",
    kind: Kind = None,
    cost: Cost = "cost",
    stages: Stages = None,
    grades: Grades = None,
    pass_mark: PassMark = None,
    copula: CopulaNames = None,
    difficulty: Difficulty = True,
    draws: NumberOfDraws = 1000,
    chains: NumberOfChains = 4,
    pool: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="Fit N tenants together first, and use what they have in common as the prior of each tenant.",
            show_default="fits are independent",
        ),
    ] = None,
    checks: Annotated[bool, typer.Option(help="Check each fit against its log.")] = True,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    workers: Annotated[int, WORKERS] = 2,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit each of many tenants, on several processes or a Dask cluster."""
    import bayescascade as bc

    reading: dict[str, Any] = {
        "confidence_kind": kind,
        "cost": cost_of(cost),
        "stages": names_of(stages),
        "grades": grades_of(grades),
        "pass_mark": pass_mark,
    }
    options: dict[str, Any] = {"draws": draws, "chains": chains, "checks": checks, "random_seed": seed or 0}
    options |= {"difficulty": difficulty, "pool": pool}
    if copula is not None:
        options["copula"] = copula_of(copula)
    with terminal.working("Fitting (a first fit compiles too: a minute or two)"):
        fits = bc.fit_tasks(logs, output, by=by, client=scheduler, workers=workers, **reading, **options)
    told = fits.table.fillna({"failed_checks": "", "notes": ""}).reset_index()
    told["notes"] = told["notes"].where(
        told["status"] == "failed", ""
    )  # what else was noted is in the table on disk
    columns = ["tenant", "status", "queries", "labelled", "failed_checks", "notes"]
    if as_json:
        terminal.emit({"tenants": told[columns].to_dict("records"), "folder": str(output)})
    else:
        terminal.show(tenants_table(told[columns], numbers=("queries", "labelled")))
        typer.echo(
            f"Wrote {len(fits.fitted)} of {len(fits.table)} fits to {output}. "
            f"Next: bayescascade tune-tasks {output} --max-error 0.2 -o policies"
        )
    if len(fits.failed):
        raise typer.Exit(terminal.INFEASIBLE)


def tune_tasks(
    ctx: typer.Context,
    fits: Annotated[
        Path, typer.Argument(metavar="FITS", exists=True, file_okay=False, help="Folder that `fit-tasks` wrote.")
    ],
    output: Annotated[
        Path, _folder_out("Folder for the policies. If it already has some, the run continues from there.")
    ],
    max_error: MaxError = None,
    max_cost: MaxCost = None,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    abstain_price: AbstainPrice = None,
    prob: Prob = None,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    workers: Annotated[int, WORKERS] = 2,
    as_json: Json = False,
) -> None:
    """Choose thresholds for each of many tenants, and write a policy for each."""
    goal = given(ctx, "max_error", "max_cost", "error_price", "abstain_price", "prob")
    if not {"max_error", "max_cost", "error_price"} & set(goal):
        raise CascadeError(NO_GOAL.format(""))
    import bayescascade as bc

    with terminal.working("Tuning"):
        table = bc.tune_tasks(fits, output, client=scheduler, workers=workers, **goal)
    columns = ["tenant", "status", "error", "cost", "kept", "failed_checks", "thresholds"]
    told = table.fillna({"failed_checks": "", "thresholds": ""}).reset_index()[columns]
    written = int((table["file"] != "").sum())
    if as_json:
        terminal.emit({"tenants": told.to_dict("records"), "folder": str(output)})
    else:
        terminal.show(tenants_table(told, numbers=("error", "cost", "kept")))
        typer.echo(f"Wrote {written} of {len(table)} policies to {output}.")
    if written < len(table):
        raise typer.Exit(terminal.INFEASIBLE)


def report_tasks(
    fits: Annotated[
        Path, typer.Argument(metavar="FITS", exists=True, file_okay=False, help="Folder that `fit-tasks` wrote.")
    ],
    output: Annotated[Path, file_out("Output file for the page (HTML), e.g. tenants.html.", page)],
    policies: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder that `tune-tasks` wrote.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one page about many tenants. Those that need attention come first."""
    import bayescascade as bc

    done = terminal.written(output)
    bc.report_tasks(fits, output, policies=policies)
    if as_json:
        terminal.emit({"report": str(output)})
        return
    typer.echo(f"{done}.")
