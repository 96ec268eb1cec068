"""Which positions a threshold vector can realise.

A *row* is what `cascade.forward` takes: (stage,) accepting positions, or (2 * stage,) with rejecting ones behind.
The *free* part of a row is what there is to choose: the accepting positions of all stages but the last, and the
rejecting positions of all. The last stage accepts from its rejecting position on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade.cascade.positions import cut_of
from bayescascade.posterior.draws import Draws


def to_rows(free: Any, n_stages: int) -> np.ndarray:
    """Rows (point, stage or 2 * stage) of free positions (point, free) or (free,)."""
    free = np.atleast_2d(np.asarray(free, dtype=float))
    accept, reject = free[:, : n_stages - 1], free[:, n_stages - 1 :]
    if reject.shape[1] == 0:
        return np.column_stack([accept, np.zeros(len(free))])
    return np.column_stack([accept, reject[:, -1], reject])


def to_free(rows: np.ndarray, n_stages: int) -> np.ndarray:
    """Undo `to_rows` (..., free)."""
    return np.delete(rows, n_stages - 1, axis=-1)


def stages_of(n_free: int, n_stages: int) -> np.ndarray:
    """The stage of each free position (free,)."""
    return np.concatenate([np.arange(n_stages - 1), np.arange(n_free - n_stages + 1)])


def tops(draws: Draws, n_free: int) -> np.ndarray:
    """Largest value of each free position, where nothing is accepted (free,)."""
    return np.array([len(draws.margins[j].low) for j in stages_of(n_free, len(draws.stages))], dtype=float)


def inside_atom(draws: Draws, stage: int, position: Any) -> np.ndarray:
    """Whether positions of a stage lie inside an atom, which no threshold can cut."""
    margin = draws.margins[stage]
    segment, fraction = cut_of(margin, position)
    return margin.is_atom[segment] & (fraction > 0) & (fraction < 1)


def realisable(draws: Draws, rows: np.ndarray) -> np.ndarray:
    """Replace rows that cut an atom, which no threshold can, by rows at both of its ends."""
    n_stages = len(draws.stages)
    free = to_free(rows, n_stages)
    for i, stage in enumerate(stages_of(free.shape[1], n_stages)):
        inside = inside_atom(draws, stage, free[:, i])
        upper = free[inside].copy()
        upper[:, i] = np.ceil(upper[:, i])
        free[inside, i] = np.floor(free[inside, i])
        free = np.concatenate([free, upper])
    return to_rows(free, n_stages)


def whole_atoms(draws: Draws, rows: np.ndarray) -> np.ndarray:
    """Move positions inside an atom to its nearer end."""
    n_stages = len(draws.stages)
    free = to_free(rows, n_stages)
    for i, stage in enumerate(stages_of(free.shape[1], n_stages)):
        free[:, i] = np.where(inside_atom(draws, stage, free[:, i]), np.round(free[:, i]), free[:, i])
    return to_rows(free, n_stages)
