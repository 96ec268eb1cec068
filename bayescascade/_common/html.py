"""Tables and notes for a notebook: escaped, with headers that a screen reader reads, in the theme's colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# The colours are the notebook's own where it names them (JupyterLab, VS Code), else what surrounds the output; a
# colour never says anything that a word does not say, too.
_STYLE = """<style>
.bayescascade { --bc-ink: var(--jp-content-font-color1, var(--vscode-foreground, inherit));
  --bc-line: var(--jp-border-color2, var(--vscode-panel-border, rgba(128, 128, 128, 0.5)));
  --bc-good: var(--jp-success-color1, #009e73); --bc-bad: var(--jp-error-color1, #d55e00);
  --accent: var(--jp-brand-color1, var(--vscode-charts-blue, #0072b2));
  color: var(--bc-ink); max-width: 60rem; }
.bayescascade p { margin: 0.3em 0; }
.bayescascade .good, .bayescascade .bad, .bayescascade .none { padding-left: 0.6em;
  border-left: 4px solid var(--bc-line); }
.bayescascade .good { border-left-color: var(--bc-good); }
.bayescascade .bad { border-left-color: var(--bc-bad); }
.bayescascade table { border-collapse: collapse; color: inherit; font-variant-numeric: tabular-nums; }
.bayescascade th, .bayescascade td { padding: 0.2em 0.9em 0.2em 0; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--bc-line); background: transparent; color: inherit; }
.bayescascade th[scope=row], .bayescascade th:first-child, .bayescascade .words { text-align: left; }
.bayescascade th[scope=row] { font-weight: normal; }
.bayescascade td.words { white-space: normal; }
.bayescascade caption { text-align: left; color: inherit; caption-side: top; }
</style>"""
MARKS = {True: "good", False: "bad", None: "none"}


def wrapped(*parts: str) -> str:
    """Parts of an output, each markup already, in one element with its style."""
    return f'{_STYLE}<div class="bayescascade">{"".join(parts)}</div>'


def note(text: str, *, lead: str = "", passed: bool | None = None) -> str:
    """A paragraph whose edge says how it went; ``lead``, its first words, says it, too."""
    strong = f"<strong>{escape(lead)}</strong> " if lead else ""
    return f'<p class="{MARKS[passed]}">{strong}{escape(text)}</p>'


def table_of(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", words: Sequence[int] = ()
) -> str:
    """A table whose first column heads its rows; columns ``words`` hold sentences."""
    kind = [' class="words"' if i in words else "" for i in range(len(columns))]
    head = "".join(f'<th scope="col"{css}>{escape(name)}</th>' for name, css in zip(columns, kind, strict=True))
    body = []
    for first, *rest in rows:
        cells = "".join(f"<td{css}>{escape(cell)}</td>" for cell, css in zip(rest, kind[1:], strict=True))
        body.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def frame_of(frame: pd.DataFrame, *, caption: str = "", digits: int = 3) -> str:
    """A data frame as a table; an index that has a name becomes its first columns."""
    return table_of(*texts(frame, digits), caption=caption)


def texts(frame: pd.DataFrame, digits: int = 3) -> tuple[list[str], list[list[str]]]:
    """Names of columns and rows of a data frame as a reader wants them."""
    if frame.index.names != [None]:
        frame = frame.reset_index()
    rows = [[cell(value, digits) for value in row] for row in frame.to_numpy(dtype=object)]
    return [str(name).replace("_", " ") for name in frame.columns], rows


def cell(value: Any, digits: int = 3) -> str:
    """A value of a table as text."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        number = float(value)
        return "" if np.isnan(number) else f"{number:.{digits}g}" if abs(number) < 1000 else f"{number:.0f}"
    return str(value)
