"""What became of a solution under changes, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bayescascade.display.value import label
from bayescascade.tuning.objective import Objective

_LITTLE = 0.05
_WHEN = {
    "price": "When one stage's price changes",
    "prior": "Under a weaker or stronger prior",
    "likelihood": "Under a weaker or stronger likelihood",
    "drift": "When queries drift towards those of which the first stage is unsure",
}


def told(table: pd.DataFrame, objective: Objective, what: str) -> Iterator[str]:
    """Sentences on the table."""
    first = table.iloc[0]
    for change, rows in table.iloc[1:].groupby(level="change", sort=False):
        moves = [f"the expected {name} is {_range(rows[name], first[name])}" for name in ("error", "cost")]
        said = f"{_WHEN[str(change)]}, with the thresholds kept {' and '.join(moves)}"
        if objective.bounds:
            worst = rows["kept"].idxmin()
            said += f"; the promise is kept with probability {rows['kept'].min():.3f} at least ({label(*worst)})"
        yield said + "."
        lost, moved = rows["lost"].max(), rows["moved"]
        if not moved.notna().any():
            continue
        said = f"Tuning anew would move a threshold past {moved.max():.1%} of its stage's queries at most"
        if np.isfinite(lost):
            which = rows["lost"].idxmax()
            share = lost / abs(rows["new_loss"][which])
            said += f", and save at most {lost:.3g} ({share:.1%}) of the {what} ({label(*which)})"
        yield said + "."


def _range(values: pd.Series, tuned: float) -> str:
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return f"{low if low == high else f'{low} to {high}'} (as tuned {tuned:.4g})"


def told_limits(breaks: float, even: float, objective: Objective) -> Iterator[str]:
    """A sentence on how much drift the promise stands."""
    if np.isnan(breaks):
        return
    if np.isinf(breaks):
        yield "No drift of the queries towards unsure ones breaks the promise."
        return
    asked = f"with probability {objective.prob:g}"
    said = f"The promise holds {asked} up to a drift of {breaks:.2g}"
    if breaks == 0.0:
        said = f"Even without drift the promise does not hold {asked}"
    elif breaks < _LITTLE:
        said += ", as thresholds that just keep it leave no room"
    yield f"{said}; " + (
        "no drift makes it more likely broken than kept."
        if np.isinf(even)
        else f"from a drift of {even:.2g} on it is more likely broken than kept."
    )
