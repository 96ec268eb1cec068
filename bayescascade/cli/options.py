"""The options that commands share, and what is wrong with them before any work is done."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from bayescascade.cli.log_options import LogOptions
from bayescascade.cli.parsing import names_of
from bayescascade.cli.terminal import say, tasks_of
from bayescascade.errors import CascadeError

if TYPE_CHECKING:
    import xarray as xr


class Command(TyperCommand):
    """A command whose help names what may be chosen: ``{families}`` and the like stand for the registries' names.

    They are read when help is asked for, because reading them takes longer than all other help.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        asked = [param for param in self.params if "{" in (getattr(param, "help", None) or "")]
        names = {key: _words(values) for key, values in _choices().items()} if asked else {}
        for param in asked:
            param.help = param.help.format(**names)  # type: ignore[attr-defined]
        leave_room(self.get_params(ctx))
        super().format_help(ctx, formatter)


def leave_room(params: Iterable[Any]) -> None:
    """Drop from the help what takes the texts' room: that a flag is a bool, and how far numbers may go.

    A number out of range is refused with the range, so nobody has to read it before.
    """
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
        elif isinstance(getattr(param, "min", None), int | float):
            param.metavar = param.metavar or f"<{type(param.min).__name__}>"
            param.min = param.max = None


def _choices() -> dict[str, list[str]]:
    from bayescascade.logs.grade import GRADERS
    from bayescascade.logs.importers.names import FORMAT_NAMES
    from bayescascade.model.calibration import CALIBRATIONS
    from bayescascade.model.copulas.family import FAMILIES
    from bayescascade.model.margins.models import MARGIN_MODELS
    from bayescascade.rivals.registry import METHODS
    from bayescascade.signals.confidence import SIGNALS
    from bayescascade.signals.kinds import KINDS

    files = {"formats": list(FORMAT_NAMES), "graders": list(GRADERS), "signals": list(SIGNALS)}
    stages = {"families": list(FAMILIES), "margins": list(MARGIN_MODELS), "calibrations": list(CALIBRATIONS)}
    return files | stages | {"kinds": list(KINDS), "methods": list(METHODS)}


def _words(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


STDIN = "-"  # where a log is asked for


# ---- callbacks


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


def a_log(path: Path | None) -> Path | None:
    """A log is written as Parquet or CSV."""
    if path is not None and path.suffix not in (".parquet", ".csv"):
        raise typer.BadParameter(f"a log is written as .parquet or .csv, but the output is called {path.name!r}.")
    return writable(path)


def page(path: Path) -> Path:
    """A report is written in HTML, whatever its name says, so the name must not say anything else."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(
            f"a report is an HTML page, so its name should end in .html or .htm, but it is {path.name!r}; "
            "a browser prints the page to PDF."
        )
    writable(path)
    return path


def keep_inputs(sources: Iterable[Path | None], *outputs: Path | None) -> None:
    """Refuse to write over what is read, of the files that were named."""
    for source, output in product(filter(None, sources), filter(None, outputs)):
        if os.path.exists(output) and os.path.exists(source) and os.path.samefile(output, source):
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
            "of the earlier fit. Leave the option out, or fit all queries again without --previous."
        )


# ---- what --task and --policy choose


def fit_of(path: Path, task: str | None) -> xr.DataTree:
    """A fit, or of one task if that is asked for."""
    import bayescascade as bc

    posterior = bc.load_fit(path)
    return posterior if task is None else bc.select_task(posterior, task)


def log_for(
    path: Path, policy: Any, reading: LogOptions, task: str | None = None, by: str | None = None
) -> xr.Dataset:
    """A log as a policy takes it: of its kind and stages, and of one task if that is asked for.

    ``by`` is a column of slices, which stands in the place of that of tasks.
    """
    import bayescascade as bc

    kind, stages = policy.confidence_kind, policy.stages
    log = bc.read_log(path, confidence_kind=kind, stages=stages, labels=False, **reading.arguments(by))
    tasks = tasks_of(log)
    own = policy.metadata.get("task")
    if task is None and by is None and own in tasks and len(tasks) > 1:
        task = _own(own)
    if task is None or not (tasks or reading.task_column):
        return log
    if task not in tasks:
        raise CascadeError(f"{path} has no query of the task {task!r}; it has {', '.join(map(repr, tasks))}.")
    return log.isel(query=log["task"].values == task)


def _own(task: str) -> str:
    say(f"The policy is of the task {task!r}: the queries of other tasks are left out. --task chooses another.")
    return task


def counted_for(path: Path, policy: Any, reading: LogOptions, task: str | None) -> Any:
    """Many files counted as a policy takes them, of one task if that is asked for, see `log_for`."""
    import bayescascade as bc
    from bayescascade.logs.sources import find_files, table_of_files

    columns = reading.arguments()
    if any([columns.pop("columns"), columns.pop("correct_if")]):
        raise CascadeError(
            "many files are counted with the usual names of columns; rename the columns in the files, or score "
            "one file at a time."
        )
    own = policy.metadata.get("task")
    if task is None and own is not None:
        known = table_of_files(find_files(path)).columns
        if reading.task_column in known or "task" in known:
            task = _own(own)
    return bc.aggregate(path, policy, of_task=task, **columns)


# ---- options


def file_in(text: str, **more: Any) -> Any:
    """An option that names a file to be read."""
    return typer.Option(exists=True, dir_okay=False, help=text, **more)


def file_out(text: str, callback: Any = writable) -> Any:
    """The option ``-o``: where the result goes."""
    return typer.Option("--output", "-o", callback=callback, help=text)


def _is_there(path: Path) -> Path:
    """A log, or - for standard input, which Typer's own check would look for on disk."""
    if str(path) != STDIN and not os.path.exists(path):
        raise typer.BadParameter(f"file {str(path)!r} does not exist.")
    return path


def is_many(path: Path) -> bool:
    """Whether a log is a folder, or a pattern, of files."""
    return os.path.isdir(path) or (glob.has_magic(str(path)) and not os.path.exists(path))


def _are_there(path: Path) -> Path:
    """A log, or a folder or a pattern of them; whether that has files is said when they are read."""
    return path if is_many(path) else _is_there(path)


LogFiles = Annotated[
    Path,
    typer.Argument(
        metavar="LOG",
        callback=_are_there,
        help="CSV, Parquet or JSON, long or wide, also as .gz; - for standard input. Or a folder of Parquet or "
        "CSV files, or a quoted pattern such as 'logs/*.parquet'.",
    ),
]
LogFile = Annotated[
    Path,
    typer.Argument(
        metavar="LOG",
        callback=_is_there,
        dir_okay=False,
        help="CSV, Parquet or JSON, long or wide, also as .gz; - for standard input.",
    ),
]
# whether it is there is left to `Policy.load`, which says how to write one
PolicyFile = Annotated[Path, typer.Argument(metavar="POLICY", help="Policy file, as `tune -o` writes it.")]
FitFile = Annotated[
    Path, typer.Argument(metavar="FIT", exists=True, dir_okay=False, help="Written by `bayescascade fit`.")
]
KIND_HELP = "What a confidence is: {kinds}."
Kind = Annotated[str | None, typer.Option("--kind", help=KIND_HELP, show_default="what a Parquet log says")]
STAGES_HELP = "Stages to keep, cheapest first."
Stages = Annotated[
    str | None, typer.Option(callback=_at_least_two, metavar="A,B,...", help=STAGES_HELP, show_default="all")
]
TASK_HELP = "The task to use, if the fit has several."
Task = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help=TASK_HELP, show_default="the only one there is")
]
TaskOfLog = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="Use only the queries of this task, if the log has several.",
        show_default="the policy's, or all",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else on standard output.")
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=2**63 - 1,
        help="Random seed, for reproducible results (of a fit up to Monte Carlo error).",
    ),
]
CURRENCY = "in the log's currency"
ERROR_PRICE = typer.Option(help=f"What one wrong answer costs, {CURRENCY}.")
MaxError = Annotated[
    float | None, typer.Option(help="Limit: the share of wrong answers is at most this, e.g. 0.1.")
]
MaxCost = Annotated[float | None, typer.Option(help=f"Limit: a query costs at most this on average, {CURRENCY}.")]
CurrencyName = Annotated[
    str | None, typer.Option("--currency", metavar="NAME", help="Currency of the log's costs, e.g. USD.")
]
MODEL, SAMPLING = "The model", "Sampling"  # panels of the help
MOST_DRAWS = 1_000_000  # the sampler ends the process where its memory does
CopulaNames = Annotated[
    str | None,
    typer.Option(
        "--copula",
        metavar="FAMILY[,...]",
        rich_help_panel=MODEL,
        help="Family of the links between stages, or one for each: {families}; "
        "auto picks the best for each link. Default: gaussian, or gumbel with --no-difficulty.",
    ),
]
Difficulty = Annotated[
    bool,
    typer.Option(
        help="Give each query a difficulty, which lowers its confidences and its accuracy. Without it, the "
        "model is a Markov copula.",
        rich_help_panel=MODEL,
    ),
]
NumberOfDraws = Annotated[
    int,
    typer.Option(
        "--draws", min=4, max=MOST_DRAWS, help="Draws to keep from each chain.", rich_help_panel=SAMPLING
    ),
]
NumberOfChains = Annotated[
    int, typer.Option("--chains", min=1, max=1000, help="Chains.", rich_help_panel=SAMPLING)
]
MarginName = Annotated[
    str, typer.Option(help="Distribution of a stage's confidences: {margins}.", rich_help_panel=MODEL)
]
CalibrationName = Annotated[
    str,
    typer.Option(help="From confidence to the probability of being right: {calibrations}.", rich_help_panel=MODEL),
]
TuningSteps = Annotated[
    int, typer.Option(min=10, max=MOST_DRAWS, help="Tuning steps, which are discarded.", rich_help_panel=SAMPLING)
]
MaxQueries = Annotated[
    int,
    typer.Option(
        min=100,
        help="Of a longer log, fit this many queries drawn at random, and this many labelled ones. "
        "Margins and costs always use the whole log.",
        rich_help_panel=SAMPLING,
    ),
]
TargetAccept = Annotated[
    float | None,
    typer.Option(
        help="Acceptance rate that the sampler aims at; raise it towards 1 if there are divergences.",
        show_default="0.95, or 0.8 with --no-difficulty",
        rich_help_panel=SAMPLING,
    ),
]
AbstainPrice = Annotated[
    float | None, typer.Option(help=f"What leaving a query unanswered costs, {CURRENCY}; stages may then abstain.")
]
PROB_HELP = "Probability with which the limits hold."
Prob = Annotated[float | None, typer.Option(help=PROB_HELP, show_default="0.9")]


def given(ctx: typer.Context, *names: str) -> dict[str, Any]:
    """Those of some options that were given."""
    return {name: ctx.params[name] for name in names if ctx.params[name] is not None}
