"""How a log is read: options that every command takes which reads one, as one argument of its function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from bayescascade.cli.parsing import cost_of, grades_of

PANEL = "How the log is read"
PASS_MARK_HELP = "Lowest score of a right answer, for scores other than 0 and 1."


def _option(name: str, metavar: str, text: str, default: str | None = None) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=PANEL, show_default=default or False)


@dataclass(frozen=True)
class LogOptions:
    """What is said of a log's columns, as typed."""

    cost: str = "cost"
    grades: str | None = None
    task_column: str | None = None
    query_column: str | None = None
    stage_column: str | None = None
    confidence_column: str | None = None
    correct_column: str | None = None
    latency_column: str | None = None
    correct_if: str | None = None
    pass_mark: float | None = None

    def arguments(self, task: str | None = None) -> dict[str, Any]:
        """Arguments of `read_log`; ``task`` is a column of tasks that another option names."""
        names = ("query", "stage", "confidence", "correct", "latency")
        columns = {name: getattr(self, f"{name}_column") for name in names}
        return {
            "cost": cost_of(self.cost),
            "task": task or self.task_column,
            "grades": grades_of(self.grades),
            "columns": {name: column for name, column in columns.items() if column is not None} or None,
            "correct_if": self.correct_if,
            "pass_mark": self.pass_mark,
        }


Cost = Annotated[
    str,
    typer.Option(
        "--cost",
        metavar="COLUMN",
        help="Column that holds the cost, or prices of one call, e.g. small=1e-4,large=1e-3.",
        rich_help_panel=PANEL,
    ),
]
Grades = Annotated[
    str | None,
    _option(
        "--grades",
        "C=1,I=0,N=,...",
        "What words in the column correct stand for: 1, 0, or nothing for no label; "
        "with --pass-mark also grades, such as P=0.5.",
    ),
]
PassMark = Annotated[float | None, _option("--pass-mark", "SCORE", PASS_MARK_HELP)]
_ANNOTATIONS: dict[str, Any] = {
    "cost": Cost,
    "grades": Grades,
    "task_column": Annotated[
        str | None,
        _option(
            "--task-column", "COLUMN", "Column that says which task a query belongs to.", "task, if there is one"
        ),
    ],
    "query_column": Annotated[
        str | None, _option("--query-column", "COLUMN", "Column that holds a query's id.", "query")
    ],
    "stage_column": Annotated[
        str | None, _option("--stage-column", "COLUMN", "Column that names the stage.", "stage, or model")
    ],
    "confidence_column": Annotated[
        str | None, _option("--confidence-column", "COLUMN", "Column that holds the confidence.", "confidence")
    ],
    "correct_column": Annotated[
        str | None,
        _option("--correct-column", "COLUMN", "Column that says whether the answer is right.", "correct"),
    ],
    "latency_column": Annotated[
        str | None, _option("--latency-column", "COLUMN", "Column that holds the latency.", "latency")
    ],
    "correct_if": Annotated[
        str | None,
        _option(
            "--correct-if",
            "CONDITION",
            "Condition for a right answer, instead of a column: "
            "'score >= 0.5', 'grade = A', 'outcome in pass,ok'.",
        ),
    ],
    "pass_mark": PassMark,
}


def reads_a_log(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command's function the options of `LogOptions`, and pass them on as its argument ``reading``.

    Options that the function has itself, such as a cost of another default, are left to it.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [param for name, param in signature.parameters.items() if name != "reading"]
    names = [f.name for f in fields(LogOptions)]

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        reading = LogOptions(**{name: given.pop(name) for name in names})
        return command(**given, reading=reading)

    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter(name, keyword, default=getattr(LogOptions, name), annotation=_ANNOTATIONS[name])
        for name in names
    ]
    parameters = [param.replace(kind=keyword) for param in own] + more
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {param.name: param.annotation for param in parameters}
    return run
