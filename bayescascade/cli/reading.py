"""The command that turns files of responses into a log; `cli` puts it on the command line."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade.cli.log_options import PASS_MARK_HELP
from bayescascade.cli.options import STDIN, Json, a_log, file_in, file_out, keep_inputs
from bayescascade.cli.parsing import names_of
from bayescascade.cli.terminal import emit, log_words, say, tell, written
from bayescascade.errors import CascadeError


def read(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[STAGE=]FILE...",
            help="Files for each stage by its name, cheapest first; or files whose responses name their model. "
            "May be folders or quoted patterns: 'small=runs/small-*.jsonl'.",
        ),
    ],
    output: Annotated[
        Path | None, file_out("Output file for the log: .parquet (keeps the kind of confidence) or .csv.", a_log)
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="One of {formats}.", show_default="by the first file"),
    ] = None,
    labels: Annotated[
        Path | None,
        file_in("Table of true answers by query, or of 0 and 1 by query and stage.", metavar="TABLE"),
    ] = None,
    grade: Annotated[
        str, typer.Option(metavar="NAME", help="How an answer is compared with the true one: {graders}.")
    ] = "normalised",
    prices: Annotated[
        str | None,
        typer.Option(
            metavar="A=PRICE,...",
            help="Price per call by stage or model, or IN/OUT per million tokens; or a table.",
            show_default="the costs in the file",
        ),
    ] = None,
    signal: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="How a confidence is made: {signals}.", show_default="by the file"),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="The possible answers, for signals that compare the answer's token with them."
        ),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The question to use, from a decision model.", show_default="all"),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Field that holds a query's id.", show_default="as the format has it"),
    ] = None,
    scores: Annotated[Path | None, file_in("Table of the scores of traces.", metavar="TABLE")] = None,
    score: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The score that tells right from wrong, if there are several."),
    ] = None,
    pass_mark: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help=PASS_MARK_HELP),
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The filter of lm-evaluation-harness to use, if there are several."),
    ] = None,
    confidence: Annotated[
        Path | None, file_in("Table of confidences, for RouterBench, which has none.", metavar="TABLE")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kind of the confidences in --confidence.")
    ] = None,
    batch_discount: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the full price that a call in a batch costs.")
    ] = 0.5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the files contain; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn files of responses, of evaluations or of traces into a log."""
    if output is None and not dry_run:
        raise CascadeError("nothing says where the log goes; give -o log.parquet, or --dry-run to look only.")
    files = files_of(sources)
    keep_inputs((Path(path) for _, path in files), output)
    import bayescascade as bc
    from bayescascade.logs.importers.collect import Options
    from bayescascade.logs.importers.formats import check_format, guess_format, refuse_options
    from bayescascade.logs.importers.labels import Labels
    from bayescascade.logs.importers.prices import Prices

    name = format_ or guess_format(files[0][1])
    reader = check_format(name)
    given: dict[str, Any] = {"answers": names_of(answers), "question": question}
    options = Options(
        signal=signal,
        signal_options={key: value for key, value in given.items() if value is not None},
        prices=Prices(prices_of(prices), batch_discount),
        labels=Labels(labels),
        grade=grade,
    )
    more: dict[str, Any] = {
        "scores": scores,
        "score": score,
        "pass_mark": pass_mark,
        "filter": filter,
        "confidence": confidence,
        "confidence_kind": kind,
    }
    more = {key: value for key, value in more.items() if value is not None}
    refuse_options(name, reader, more)
    collector = reader.collect(_source(files), options, query, **more)
    collector.finish()
    summary = f"Format: {name}.\n{collector.summary}"
    if output is None or dry_run:
        if as_json:
            emit({"format": name, "text": summary, "log": None, **collector.summary.to_dict()})
        else:
            tell(summary)
        return
    say(summary)
    log = collector.to_dataset()
    done = written(output)
    bc.write_log(log, output)
    if as_json:
        emit({"format": name, "text": summary, "log": str(output), **collector.summary.to_dict()})
        return
    typer.echo(f"{done}. Next: bayescascade fit {log_words(log, output)} -o fit.nc")


def files_of(sources: list[str]) -> list[tuple[str, str]]:
    """Stage and path of each file; the stage is empty where none is named."""
    files = []
    for text in sources:
        stage, equals, path = text.partition("=")
        if not equals or os.path.exists(text):
            stage, path = "", text
        there = path == STDIN or os.path.exists(path)
        found = [path] if there else sorted(glob.glob(path, recursive=True))
        if not found:
            raise CascadeError(f"there is no file {path!r}; write FILE, or STAGE=FILE.")
        files += [(stage.strip(), each) for each in found]
    named = [stage for stage, _ in files if stage]
    if named and len(named) < len(files):
        raise CascadeError("some files have a stage before = and others none; name the stage of each, or of none.")
    return files


def _source(files: list[tuple[str, str]]) -> Any:
    """As readers take them: a mapping by stage, a single path, or several."""
    if not files[0][0]:
        return _one_or_several([path for _, path in files])
    stages = dict.fromkeys(stage for stage, _ in files)
    return {name: _one_or_several([path for stage, path in files if stage == name]) for name in stages}


def _one_or_several(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


def prices_of(text: str | None) -> Any:
    """Prices as ``small=1e-4,large=0.15/0.60``, or the path of a table."""
    if text is None:
        return None
    if "=" not in text:
        if not os.path.exists(text):
            raise CascadeError(
                f"--prices {text} is neither a table nor a list of prices; write e.g. small=1e-4,large=1e-3."
            )
        return Path(text)
    prices: dict[str, Any] = {}
    for part in names_of(text) or []:
        name, _, price = part.rpartition("=")
        try:
            numbers = tuple(float(number) for number in price.split("/"))
        except ValueError:
            raise CascadeError(
                f"--prices {text} has no number for {part!r}; write e.g. small=1e-4 for a call, or small=0.15/0.6 "
                "for a million tokens in and out."
            ) from None
        prices[name.strip()] = numbers[0] if len(numbers) == 1 else numbers
    return prices
