"""What became of a solution under changes, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from bayescascade.display.format import per_thousand, share
from bayescascade.display.value import label
from bayescascade.tuning.objective import Objective

_LITTLE, _NOTHING = 0.05, 0.01
_WHEN = {
    "price": "When one stage's price changes",
    "prior": "Under a weaker or stronger prior",
    "likelihood": "Under a weaker or stronger likelihood",
    "drift": "When queries get harder, with more of those of which the first stage is unsure",
}


def told(table: pd.DataFrame, objective: Objective, what: str) -> Iterator[str]:
    """Sentences on the table."""
    first, lost = table.iloc[0], _most_lost(table, what)
    if lost:
        yield lost
    for change, rows in table.iloc[1:].groupby(level="change", sort=False):
        when = _WHEN[str(change)]
        if objective.bounds:  # what else moves is in the table
            worst = rows["kept"].idxmin()
            least = f"{rows['kept'].min():.0%} or more"
            yield f"{when}, the promise still holds with probability {least} ({label(*worst)})."
            continue
        error = _range(rows["error"], first["error"], share)
        cost = _range(rows["cost"], first["cost"], per_thousand)
        moves = [f"The error is then {error}." if error else ""]
        moves.append(f"The cost is then {cost} per 1,000 queries." if cost else "")
        moved = " ".join(filter(None, moves))
        yield f"{when}, thresholds can be kept. {moved}" if moved else f"{when}, neither error nor cost moves."


def _most_lost(table: pd.DataFrame, what: str) -> str:
    """The answer: how much of the loss could be saved by tuning again after any of the changes."""
    rows = table.iloc[1:]
    share_lost = (rows["lost"] / rows["new_loss"].abs()).replace([np.inf, -np.inf], np.nan)
    if not share_lost.notna().any():
        return ""
    worst = share_lost.idxmax()
    if share_lost[worst] < _NOTHING:
        return f"No change here would make tuning again save more than 1% of the {what}."
    return f"Tuning again would save at most {share_lost[worst]:.1%} of the {what} ({label(*worst)})."


def _range(values: pd.Series, tuned: float, show: Callable[[float], str]) -> str:
    """Where an amount goes, empty where that is nowhere to be seen."""
    low, high, now = show(float(values.min())), show(float(values.max())), show(tuned)
    if low == high == now:
        return ""
    return low if low == high else f"{low} to {high}"


def told_limits(breaks: float, even: float, objective: Objective) -> Iterator[str]:
    """A sentence on how much drift the promise stands."""
    if np.isnan(breaks):
        return
    if np.isinf(breaks):
        yield "No drift of the queries towards unsure ones breaks the promise."
        return
    asked = f"with probability {100.0 * objective.prob:.4g}%"
    said = f"The promise holds {asked} until queries are {100.0 * breaks:.2g}% harder"
    if breaks == 0.0:
        said = f"Even if queries stay as they are, the promise does not hold {asked}"
    elif breaks < _LITTLE:
        said += ", as thresholds that just keep it have no slack"
    yield f"{said}."
    yield (
        "However hard they get, it is more likely kept than broken."
        if np.isinf(even)
        else f"From {100.0 * even:.2g}% on it is more likely broken than kept."
    )
