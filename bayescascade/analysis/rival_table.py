"""Ways to answer queries side by side: what each loses, and how often the cascade loses less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.digits import show_threshold
from bayescascade.cascade.forward import split_positions
from bayescascade.cascade.positions import to_thresholds
from bayescascade.display.format import CI_PROB, chance, money
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.solution import ThresholdSolution

SURE = 0.9
TOSS_UP = (0.3, 0.7)  # between these probabilities neither of two is called the better one
TIE = 1e-3  # share of the cascade's loss below which nobody should prefer the longer cascade
THOUSAND = 1000.0
CASCADE = "this cascade"
SHORTER = "run a shorter cascade"
EVEN = "a toss-up between"
CI = tail_probabilities(CI_PROB)


@dataclass(frozen=True)
class Strategy:
    """One way to answer queries, and its loss (draw,), as the posterior has it.

    ``beats_any`` says where the cascade beats the best of this kind, draw by draw (draw,). ``kept`` is the
    probability with which it keeps the goal's limits, safety margin included; NaN where there are none. ``stages``
    are those of a pair.
    """

    name: str
    kind: str
    loss: np.ndarray
    chosen: bool = False
    beats_any: np.ndarray | None = None
    kept: float = float("nan")
    stages: tuple[str, ...] = ()


def pair_of(draws: Draws, row: np.ndarray, loss: np.ndarray, chosen: bool, **further: Any) -> Strategy:
    """The cascade of two stages whose draws these are, at a row of positions (row,)."""
    accept, _ = split_positions(row[None], 2)
    threshold = show_threshold(float(to_thresholds(accept, draws)[0, 0]))
    name = f"{' > '.join(draws.stages)} at {threshold}"
    return Strategy(name, "pair", loss, chosen, stages=tuple(draws.stages), **further)


def without_itself(rivals: list[Strategy], solution: ThresholdSolution) -> list[Strategy]:
    """The rivals but for the pair that a solution runs itself."""
    own = tuple(str(name) for name in solution.thresholds["stage"].values)
    return [one for one in rivals if one.kind != "pair" or one.stages != own]


def is_toss_up(row: Any, tie: float) -> bool:
    """Whether a rival's row neither is the same as the cascade nor is clearly better or worse."""
    return abs(row.saving) > tie and TOSS_UP[0] < row.p_beats < TOSS_UP[1]


def rivals_table(rows: list[Strategy], equal: float) -> pd.DataFrame:
    """One row each, the cascade first: mean loss and saving per 1,000 queries, how often the first beats it.

    ``kept`` is a column where there are limits.
    """
    cascade, records = rows[0].loss, []
    for row in rows:
        saving = row.loss - cascade
        saving = np.where(np.abs(saving) <= equal, 0.0, saving)
        record: dict[str, Any] = {"rival": row.name, "kind": row.kind, "chosen": row.chosen}
        for name, values in (("loss", row.loss), ("saving", saving)):
            low, high = np.quantile(values, CI)
            record |= {
                name: THOUSAND * values.mean(),
                f"{name}_low": THOUSAND * low,
                f"{name}_high": THOUSAND * high,
            }
        other = row.kind != "cascade"
        record["p_beats"] = p_less(-saving, equal) if other else np.nan
        record["p_beats_any"] = np.nan if row.beats_any is None else row.beats_any.mean()
        record["kept"] = row.kept
        records.append(record)
    table = pd.DataFrame(records)
    return table if table["kept"].notna().any() else table.drop(columns="kept")


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people: probabilities as the text has them, and no column that says nothing."""
    table = table.dropna(axis=1, how="all")
    known = [name for name in ("p_beats", "p_beats_any", "kept") if name in table]
    return table.assign(**{name: table[name].map(chance) for name in known})


def p_less(gap: np.ndarray, equal: float) -> float:
    """How often a gap is below zero; where it is none, in one case of two."""
    return float(np.mean(gap < -equal) + 0.5 * np.mean(np.abs(gap) <= equal))


def against(name: str, row: Any, equal: float, better: str = "is the cheaper one", unit: str = "") -> str:
    """What the cascade saves against one rival, or costs more."""
    if abs(row.saving) <= equal:
        return f"Against {name} it makes no difference."
    verb, more = ("saves", "") if row.saving >= 0.0 else ("costs", " more")
    saved = f"Against {name} it {verb} {money(abs(row.saving))}{unit}{more}."
    return f"{saved} The probability that it {better} is {chance(row.p_beats)}."
