"""The options that commands share, and what is wrong with them before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from bayescascade._terminal import say, tasks_of
from bayescascade.errors import CascadeError

if TYPE_CHECKING:
    import xarray as xr


class WithChoices(TyperCommand):
    """A command whose help names what may be chosen: ``{families}`` and the like stand for the registries' names.

    They are read when help is asked for, because reading them takes longer than all other help.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        names = {key: _words(values) for key, values in _choices().items()}
        for param in self.params:
            text = getattr(param, "help", None)
            if text:
                param.help = text.format(**names)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _choices() -> dict[str, list[str]]:
    from bayescascade.baselines.registry import METHODS
    from bayescascade.calibration import CALIBRATIONS
    from bayescascade.copulas import FAMILIES
    from bayescascade.margin_models import MARGIN_MODELS
    from bayescascade.signals import KINDS

    registries: dict[str, Iterable[str]] = {
        "families": FAMILIES,
        "margins": MARGIN_MODELS,
        "calibrations": CALIBRATIONS,
        "kinds": KINDS,
        "methods": METHODS,
    }
    return {key: list(values) for key, values in registries.items()}


def _words(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


# ---- callbacks and parsers


def names_of(text: str | None) -> list[str] | None:
    """The names in a list separated by commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def copula_of(text: str) -> str | list[str]:
    """One name for all links, or one for each."""
    names = names_of(text) or [text]
    return names[0] if len(names) == 1 else names


def cost_of(text: str) -> str | dict[str, float]:
    """The name of a column, or prices as ``small=1e-4,large=1e-3``."""
    if "=" not in text:
        return text
    prices = {}
    for part in names_of(text) or []:
        stage, _, price = part.rpartition("=")
        try:
            prices[stage.strip()] = float(price)
        except ValueError:
            raise CascadeError(
                f"--cost {text} is neither a column nor a list of prices: {part!r} has no number; write e.g. "
                "--cost small=1e-4,large=1e-3."
            ) from None
    return prices


def writable(path: Path | None) -> Path | None:
    """Refuse an output that cannot be written before the work, not after it."""
    if path is not None:
        folder = path.parent
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder; name a file in it.")
        if not folder.is_dir():
            raise typer.BadParameter(f"the folder {folder} does not exist; create it first.")
        if not os.access(folder, os.W_OK):
            raise typer.BadParameter(f"the folder {folder} cannot be written to; choose another.")
    return path


def page(path: Path) -> Path:
    """A report is written in HTML, whatever its name says, so the name must not say anything else."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(
            f"a report is an HTML page, so its name should end in .html or .htm, but it is {path.name!r}; "
            "a browser prints the page to PDF."
        )
    writable(path)
    return path


def keep_input(source: Path, output: Path) -> None:
    """Refuse to write over what is read."""
    if output.exists() and output.samefile(source):
        raise CascadeError(f"the output {output} is the input itself; give it another name.")


def _at_least_two(stages: str | None) -> str | None:
    if stages is not None and len(names_of(stages) or []) < 2:
        raise typer.BadParameter(f"a cascade has at least two stages, separated by commas, but got {stages!r}.")
    return stages


def refuse_with_previous(ctx: typer.Context, *names: str) -> None:
    """An update keeps the model and the draws of the earlier fit."""
    given = []
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            given.append(f"--{name.replace('_', '-')}")
    if given:
        raise CascadeError(
            f"{' and '.join(given)} cannot go with --previous: an update keeps the model and the number of draws "
            "of the earlier fit. Leave the option out, or fit all queries anew without --previous."
        )


# ---- what --task and --policy choose


def of_fit(posterior: xr.DataTree, task: str | None) -> xr.DataTree:
    """The fit of one task if one is asked for."""
    import bayescascade as bc

    return posterior if task is None else bc.select_task(posterior, task)


def log_for(path: Path, policy: Any, cost: str, task: str | None, task_column: str | None) -> xr.Dataset:
    """A log as a policy takes it: of its kind and stages, and of one task if that is asked for."""
    import bayescascade as bc

    kind, stages = policy.confidence_kind, policy.stages
    log = bc.read_log(path, confidence_kind=kind, cost=cost_of(cost), stages=stages, task=task_column)
    tasks = tasks_of(log)
    own = policy.metadata.get("task")
    if task is None and own in tasks and len(tasks) > 1:
        say(f"The policy is of the task {own!r}: the queries of other tasks are left out. --task chooses another.")
        task = own
    if task is None or not (tasks or task_column):
        return log
    if task not in tasks:
        raise CascadeError(f"{path} has no query of the task {task!r}; it has {', '.join(map(repr, tasks))}.")
    return log.isel(query=log["task"].values == task)


# ---- options


LogFile = Annotated[
    Path,
    typer.Argument(metavar="LOG", exists=True, dir_okay=False, help="CSV, Parquet or JSON lines, long or wide."),
]
FitFile = Annotated[
    Path, typer.Argument(metavar="FIT", exists=True, dir_okay=False, help="Written by `bayescascade fit`.")
]
Cost = Annotated[
    str,
    typer.Option(
        "--cost",
        metavar="COLUMN",
        help="Column that holds the cost, or prices of one call, e.g. small=1e-4,large=1e-3.",
    ),
]
Stages = Annotated[
    str | None,
    typer.Option(
        callback=_at_least_two, metavar="A,B,...", help="Stages to keep, cheapest first.", show_default="all"
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="NAME", help="One task, where the fit or the log has several.", show_default="all"
    ),
]
TaskColumn = Annotated[
    str | None,
    typer.Option(
        "--task-column",
        metavar="COLUMN",
        help="Column that says which task a query belongs to.",
        show_default="task, if there is one",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed; the same seed, the same result.")]
