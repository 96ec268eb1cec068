"""The command that compares methods; `cli` puts it on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayescascade._common.files import whole_file
from bayescascade._common.spreadsheets import for_spreadsheets
from bayescascade.cli import terminal
from bayescascade.cli.log_options import LogOptions, reads_a_log
from bayescascade.cli.options import Json, Kind, LogFile, Stages, file_in, file_out, keep_inputs, writable
from bayescascade.cli.parsing import names_of
from bayescascade.cli.tables import against_table
from bayescascade.cli.terminal import say, show
from bayescascade.errors import CascadeError

if TYPE_CHECKING:
    import xarray as xr


PICTURES = (".eps", ".jpg", ".jpeg", ".pdf", ".png", ".svg", ".tif", ".tiff", ".webp")


def _picture(path: Path | None) -> Path | None:
    """Refuse a picture that nobody can draw before the work, not after it."""
    if path is not None and path.suffix.lower() not in PICTURES:
        raise typer.BadParameter(
            f"a picture's name should end in one of {', '.join(PICTURES)}, but is {path.name!r}."
        )
    return writable(path)


@reads_a_log
def compare(
    train: LogFile,
    reading: LogOptions,
    kind: Kind = None,
    test: Annotated[
        Path | None,
        file_in(
            "Test log: queries that the fit has not seen.", metavar="LOG", show_default="five folds of the first"
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="Among {methods}.", show_default="all that the logs have what they need for"
        ),
    ] = None,
    n: Annotated[
        str, typer.Option("--n", metavar="N,...", help="Numbers of queries to learn from, or all.")
    ] = "all",
    seeds: Annotated[
        int | None, typer.Option(help="How many subsets of --n queries, or folds.", show_default="5")
    ] = None,
    cascades: Annotated[
        str | None,
        typer.Option(
            metavar="A,B;A,C;...",
            help="Subsets of the stages to compare, or all.",
            show_default="all stages as one",
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The method that others are compared with.", show_default="the first")
    ] = None,
    stages: Stages = None,
    prompts: Annotated[Path | None, file_in("Table of query and prompt, for methods that read text.")] = None,
    test_prompts: Annotated[Path | None, file_in("The same for --test.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder for finished results, which are not run again.")
    ] = None,
    output: Annotated[Path | None, file_out("Output file for the table (CSV).")] = None,
    plot: Annotated[
        Path | None, typer.Option(callback=_picture, help="Output file for the picture, e.g. comparison.svg.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare ways to choose thresholds on your own log: bayescascade and baselines."""
    keep_inputs((train, test, prompts, test_prompts), output, plot, resume)
    if (prompts is None) != (test_prompts is None) and test is not None:
        raise CascadeError("--prompts and --test-prompts go together: give both, or neither.")
    if test is None and test_prompts is not None:
        raise CascadeError("--test-prompts goes with --test.")
    sizes = [_size(part) for part in names_of(n) or []]
    if not sizes:
        raise CascadeError(
            f"--n {n!r} names no number of queries; write whole numbers or all, e.g. --n 30,100,all."
        )
    if output is not None and plot is not None and output.resolve() == plot.resolve():
        raise CascadeError(f"the table and the picture would both be {output}; give one of them another name.")
    parts: Any = cascades
    if cascades is not None and cascades.strip() != "all":
        parts = [names_of(part) for part in cascades.split(";") if part.strip()]
    import bayescascade as bc
    from bayescascade.rivals.registry import METHODS

    known = names_of(methods) or METHODS
    if reference is not None and reference not in known:  # said before the work, not after it
        raise CascadeError(f"--reference {reference} was not run; choose among {', '.join(known)}.")

    def read(path: Path, texts: Path | None) -> xr.Dataset:
        log = bc.read_log(path, confidence_kind=kind, stages=names_of(stages), **reading.arguments())
        if texts is None:
            return log
        from bayescascade.logs.texts import with_prompts

        return with_prompts(log, texts)

    found = bc.compare(
        read(train, prompts),
        None if test is None else read(test, test_prompts),
        methods=names_of(methods),
        n=sizes,
        seeds=seeds,
        cascades=parts,
        resume=resume,
    )
    table = found.table(reference)
    # files before the table, whose reader may hang up
    if output is not None:
        done = terminal.written(output)
        with whole_file(output, "the table") as path:
            for_spreadsheets(table.reset_index()).to_csv(path, index=False)
        say(f"{done}.")
    if plot is not None:
        done = terminal.written(plot)
        with whole_file(plot, "the picture") as path:
            figure = found.plot(reference=reference).get_figure(root=True)
            assert figure is not None  # of new axes
            figure.savefig(path)
        say(f"{done}.")
    if as_json:
        terminal.emit({"text": found.text, "methods": table.reset_index()})
        return
    terminal.tell(found.text)
    print()
    show(against_table(table, reference or str(found.data["rival"].values[0])))


def _size(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise CascadeError(f"--n has {text!r}; write whole numbers or all, e.g. --n 30,100,all.") from None
