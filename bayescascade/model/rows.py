"""Rows of the likelihood of signals: one for each observed (query, stage), and the pairs links make of them."""

from __future__ import annotations

import numpy as np

from bayescascade.model.margins.segments import Margin
from bayescascade.model.options import Options


class Rows:
    """One row for each observed (query, stage), ordered by family and by how it links to the stage before.

    Attributes
    ----------
    query, stage, column, segment, follows, is_atom, signal : ndarray (row,)
    case : ndarray of int (row,)
        0 without a link; for family i, 1 + 3 i where both sides are continuous, one more for each atom.
    stand_in : ndarray of int (row,)
        The first row that shows the same atom; of a continuous row, the row itself.
    ends : dict of str to list of ndarray (3, pair)
        By family, and for no, one and two atoms: the two rows that are joined, the atom first where there is one
        (the stage before first where there are two), and the link's number.
    end : ndarray of int (row,)
        -1 where the row's segment is the lowest of its margin, 1 where it is the highest, 0 otherwise.
    turned : ndarray of bool (link,)
        Whether the link's family is a rotated one.
    column_link : ndarray of int (column,)
        The Gaussian link of each column to the one before, and the number of links where there is none.
    """

    def __init__(
        self,
        signal: np.ndarray,
        task: np.ndarray,
        margins: list[Margin],
        options: Options,
        bases: tuple[str, ...],
    ) -> None:
        n_stages = signal.shape[1]
        self._signal, self._task, self._margins = signal, task, margins
        query, stage = np.nonzero(np.isfinite(signal))
        by_segment = self.places("segment")
        is_atom = by_segment["atom"]
        self.families = options.families
        names = [family.base for family in options.families]
        number = np.array([bases.index(name) if name in bases else -1 for name in names], dtype=int)
        family = number[np.maximum(stage - 1, 0)]
        follows = (stage > 0) & np.isfinite(signal[query, stage - 1])
        linked = follows & (family >= 0)
        before = (query, np.maximum(stage - 1, 0))
        kind = is_atom[query, stage].astype(int) + is_atom[before]
        case = np.where(linked, 1 + 3 * family + kind, 0)
        order = np.argsort(case, kind="stable")
        query, stage, case = query[order], stage[order], case[order]
        self.query, self.stage, self.follows = query, stage, follows[order]
        self.column = task[query] * n_stages + stage
        self.segment = by_segment["cell"][query, stage]
        self.is_atom, self.case = is_atom[query, stage], case
        highest = np.array([len(margin.low) - 1 for margin in margins])[self.column]
        self.end = (self.segment == highest).astype(int) - (self.segment == 0)

        # where each (query, stage) stands among the rows, so that a link can point at the row before it
        position = np.zeros(signal.shape, dtype=np.int64)
        position[query, stage] = np.arange(len(query))
        before_row = position[query, np.maximum(stage - 1, 0)]
        here, link = np.arange(len(query)), task[query] * (n_stages - 1) + stage - 1
        atom_first = is_atom[query, np.maximum(stage - 1, 0)]
        ends = np.stack([np.where(atom_first, before_row, here), np.where(atom_first, here, before_row), link])
        # one row stands for all that show the same atom
        _, first, of = np.unique(
            np.stack([self.column, self.segment]), axis=1, return_index=True, return_inverse=True
        )
        self.stand_in = np.where(self.is_atom, first[of.reshape(-1)], here)
        ends[:2] = self.stand_in[ends[:2]]
        self.ends = {
            name: [ends[:, case == 1 + 3 * i + kind] for kind in range(3)] for i, name in enumerate(bases)
        }
        self.turned = np.tile([family.rotated for family in options.families], len(margins) // n_stages)
        of_task, of_stage = np.divmod(np.arange(len(margins)), n_stages)
        gaussian = np.array([False, *(name == "gaussian" for name in names)])[of_stage]
        self.column_link = np.where(gaussian, of_task * (n_stages - 1) + of_stage - 1, len(self.turned))
        self.signal, self.n_unlinked = signal[query, stage], int(np.sum(case == 0))

    def placed(self, by: str, n_cells: int) -> dict[str, np.ndarray]:
        """The rows for the likelihood; a column has ``n_cells`` cells.

        For each family the points of [0, 1] at which its copula is needed, each once: the cell they are in, where
        in the cell, and whether they are turned; then pairs of points, by case, see `likelihood.signal_logp`.
        """
        place = self.places(by)
        at = self.query, self.stage
        cell = place["cell"][at] + n_cells * self.column
        side = np.stack([place["low"][at], place["high"][at]])
        arrays = {
            "row_signal": self.signal,
            "row_cell": cell,
            "row_log_shape": place["log_shape"][at],
            "row_unlinked": np.zeros(self.n_unlinked),
        }
        for name, (free, strip, corner) in self.ends.items():
            corner, of = np.unique(corner, axis=1, return_inverse=True)
            key = np.concatenate([*self._points(free)[::2], *self._points(strip)[:3], *self._points(corner)])
            key, index = np.unique(key, return_inverse=True)
            row, high, turned = key // 4, key // 2 % 2, key % 2
            ends = np.split(
                index, np.cumsum([*[free.shape[1]] * 2, *[strip.shape[1]] * 3, *[corner.shape[1]] * 4])
            )
            arrays |= {
                f"point_cell_{name}": cell[row],
                f"point_place_{name}": np.stack([side[high, row], turned]),
                f"free_{name}": np.stack([*ends[:2], free[2]]),
                f"strip_{name}": np.stack([*ends[2:5], strip[2], strip[0]]),
                f"corner_{name}": np.stack([*ends[5:9], corner[2], *corner[:2]]),
                f"corner_of_{name}": of.reshape(-1),
            }
        return arrays

    def _points(self, ends: np.ndarray) -> list[np.ndarray]:
        """Keys of the points at the lower and upper ends of both sides of some pairs: row, end and turn in one."""
        turned = self.turned[ends[2]].astype(np.int64)
        return [4 * ends[i] + 2 * (high ^ turned) + turned for i in (0, 1) for high in (0, 1)]

    def places(self, by: str) -> dict[str, np.ndarray]:
        """Where each signal lies in its column's cells, see `Margin.locate` (query, stage)."""
        signal = self._signal
        place = {
            name: np.full(signal.shape, fill, dtype=dtype)
            for name, fill, dtype in (
                ("cell", 0, np.int64),
                ("low", 0.0, float),
                ("high", 0.0, float),
                ("atom", False, bool),
                ("log_shape", 0.0, float),
            )
        }
        n_stages = signal.shape[1]
        for column, margin in enumerate(self._margins):
            task, j = divmod(column, n_stages)
            seen = np.isfinite(signal[:, j]) & (self._task == task)
            for name, value in margin.locate(signal[seen, j], by).items():
                place[name][seen, j] = value
        return place
