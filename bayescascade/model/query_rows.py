"""Arrays for the likelihood of whole queries, `factor.query_logp`: which points, pairs and labels a query has."""

from __future__ import annotations

import numpy as np

from bayescascade.model.copulas import gaussian
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.rows import Rows

Arrays = dict[str, np.ndarray]
# Share of the queries from which on the observed ranks of a stage's signals are those of all queries: what is
# missed moves no rank by more than a twentieth.
RANKED = 0.95


Ranks = tuple[np.ndarray, np.ndarray]


class Places:
    """Where rows stand in their margins: by observed ranks, or in the cells of the margin being sampled.

    ``ranks`` are the `observed_ranks` of the rows; a column has ``n_cells`` cells of the kind ``by``.
    """

    def __init__(self, rows: Rows, by: str, n_cells: int, ranks: Ranks) -> None:
        at, place = (rows.query, rows.stage), rows.places(by)
        self.rows, self.ranks = rows, ranks
        self.cell = place["cell"][at] + n_cells * rows.column
        self.log_shape = place["log_shape"][at]
        self.ends = place["low"][at], place["high"][at]

    def margins(self, sampled: np.ndarray) -> Arrays:
        """What rows of ``sampled`` queries (query,) have of their margins' density.

        The density of a row is that of its rank times that of the margin, less the atom's mass, which both have.
        An atom without an observed rank has its whole mass from the former.
        """
        ranked = np.isfinite(self.ranks[0])
        log_mass = np.log(np.where(self.rows.is_atom & ranked, self.ranks[1] - self.ranks[0], 1.0))
        counts = (ranked | ~self.rows.is_atom) & sampled[self.rows.query]
        return {
            "row_cell": self.cell,
            "row_query": self.rows.query,
            "row_log_margin": np.where(counts, self.log_shape - log_mass, 0.0),
            "row_counts": counts.astype(float),
        }

    def points(self, row: np.ndarray, high: np.ndarray | int = 1, name: str = "free") -> tuple[np.ndarray, Arrays]:
        """Normal scores of the lower or upper ends of some rows (point,), 0 where these are of the margin.

        Of the latter, arrays say which points they are, and where in which cells.
        """
        rank = np.where(high, self.ranks[1][row], self.ranks[0][row])
        own = np.isnan(rank)
        score = np.where(own, 0.0, gaussian.normal_score(np.where(own, 0.5, rank), NUMPY))
        place = np.where(high, self.ends[1][row], self.ends[0][row])
        return score, {
            f"{name}_point": np.flatnonzero(own),
            f"{name}_cell": self.cell[row][own],
            f"{name}_place": place[own],
        }


def rows_given_ease(
    rows: Rows, complete: np.ndarray, n_links: int, places: Places
) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Points and pairs of the rows, where each row's line and term are (2, row), and what stands for none (2,).

    A *line* is the part of a continuous row whose log density is quadratic in the query's ease; a *term* is any
    other part: an atom by itself, or a row given the row before. ``n_links`` counts the links of all tasks. Rows
    of ``complete`` queries (query,) have neither: see `complete`.
    """
    inside = ~complete[rows.query]
    lined = ~rows.is_atom & inside
    free, atoms = np.flatnonzero(lined), np.unique(rows.stand_in[rows.is_atom])
    line = np.where(lined, np.cumsum(lined) - 1, len(free))
    atom = np.where(rows.is_atom, np.searchsorted(atoms, rows.stand_in), len(atoms))
    before, link = free.copy(), np.full(len(free), n_links)  # no link is the link past the last
    term, n_terms = np.where(rows.is_atom, atom, -1), len(atoms)
    pairs: dict[str, tuple[np.ndarray, ...]] = {}
    for number, (name, (both, strip, corner)) in enumerate(rows.ends.items()):
        of_both, of_strip, of_corner = (np.flatnonzero(rows.case == 1 + 3 * number + kind) for kind in range(3))
        if name == "gaussian":
            of_line = both[:, inside[both[1]]]
            before[line[of_line[1]]], link[line[of_line[1]]] = of_line[0], of_line[2]
            both, of_both = both[:, :0], of_both[:0]
        corner, which = np.unique(corner, axis=1, return_inverse=True)
        # the stage before is the atom where the row itself is none
        given = np.where(rows.is_atom[of_strip], len(atoms), atom[strip[0]])
        strip = np.vstack([strip, given])
        if name == "gaussian":  # half the work where the atom is an end of its margin: those come last
            order = np.argsort(rows.end[strip[0]] != 0, kind="stable")
            strip, of_strip = strip[:, order], of_strip[order]
        for here, index in ((of_both, None), (of_strip, None), (of_corner, which.reshape(-1))):
            term[here] = n_terms + (np.arange(len(here)) if index is None else index)
            n_terms += corner.shape[1] if index is not None else len(here)
        pairs[name] = (both, strip, np.vstack([corner, atom[corner[0]]]))
    term[term < 0] = n_terms
    point, arrays = _points(rows, pairs, [free, before], atoms)
    score, free_points = places.points(point // 2, point % 2)
    arrays["line"] = np.stack([*arrays["line"], link])
    arrays |= {"point_column": rows.column[point // 2], "point_score": score} | free_points
    return arrays, np.stack([line, term]), np.array([len(free), n_terms])


def ranked_columns(signal: np.ndarray, task: np.ndarray, n_columns: int) -> np.ndarray:
    """Whether nearly all queries of its task have a signal, by column; ``signal`` is (query, stage)."""
    seen = np.isfinite(signal)
    return np.concatenate([seen[task == t].mean(axis=0) >= RANKED for t in range(n_columns // seen.shape[1])])


def observed_ranks(rows: Rows, signal: np.ndarray, task: np.ndarray, ranked: np.ndarray) -> Ranks:
    """Shares of its stage's signals below each row, without and with its value (row,); NaN where not ``ranked``.

    They are counted among all signals (query, stage). A continuous value stands in the middle of its equals, which
    keeps it off 0 and 1. Within a segment F is linear: ranks by it are too even where a segment is wide, as the
    outermost are, and stages would seem to depend on each other more than they do.
    """
    low, high = np.full((2, len(rows.query)), np.nan)
    for column in np.flatnonzero(ranked):
        of_task, stage = divmod(int(column), signal.shape[1])
        own = np.sort(signal[task == of_task, stage])
        own = own[np.isfinite(own)]
        here = rows.column == column
        below, upto = (np.searchsorted(own, rows.signal[here], side) / len(own) for side in ("left", "right"))
        low[here] = np.where(rows.is_atom[here], below, 0.5 * (below + upto))
        high[here] = np.where(rows.is_atom[here], upto, 0.5 * (below + upto))
    return low, high


def _points(
    rows: Rows, pairs: dict[str, tuple[np.ndarray, ...]], lines: list[np.ndarray], atoms: np.ndarray
) -> tuple[np.ndarray, Arrays]:
    """Points of [0, 1] that are needed, each once, as 2 row + upper end; and lists of points for each use.

    A family that is rotated somewhere sees its points turned there, so each family has a list of its own.
    """
    single = (~rows.is_atom).astype(np.int64)  # a continuous value has one end only

    def ends(row: np.ndarray, link: np.ndarray) -> list[np.ndarray]:
        turned = rows.turned[link].astype(np.int64)
        return [4 * row + 2 * ((high ^ turned) | single[row]) + turned for high in (0, 1)]

    keys = {}
    for name, (both, strip, corner) in pairs.items():
        lists = [
            [ends(both[0], both[2])[0], ends(both[1], both[2])[0]],
            [*ends(strip[0], strip[2]), ends(strip[1], strip[2])[0]],
            [*ends(corner[0], corner[2]), *ends(corner[1], corner[2])],
        ]
        own = np.unique(np.concatenate([key for group in lists for key in group]))
        found = [[np.searchsorted(own, key) for key in group] for group in lists]
        keys[name] = (
            own,
            {
                f"free_{name}": np.stack([*found[0], both[2]]),
                f"strip_{name}": np.stack([*found[1], *strip[2:]]),
                f"corner_{name}": np.stack([*found[2], *corner[2:]]),
            },
        )
    plain = [*(2 * row + 1 for row in lines), 2 * atoms, 2 * atoms + 1]
    point = np.unique(np.concatenate([*plain, *(own // 2 for own, _ in keys.values())]))
    own_line, before, low, high = (np.searchsorted(point, key) for key in plain)
    arrays = {"line": np.stack([before, own_line]), "atom_ends": np.stack([low, high])}
    for name, (own, lists_of) in keys.items():
        at = np.searchsorted(point, own // 2)
        if name == "gaussian":  # it reads scores of the points themselves, and is its own rotation
            arrays |= _gaussian(rows, at, pairs[name][1], lists_of)
        else:
            arrays |= {f"point_{name}": at, f"turned_{name}": own % 2.0} | lists_of
    return point, arrays


def _gaussian(rows: Rows, at: np.ndarray, strip: np.ndarray, lists: Arrays) -> Arrays:
    """Strips and corners of a Gaussian link, in points of [0, 1]; strips of one end only are tails."""
    end = rows.end[strip[0]]
    tail = end != 0
    low, high, free, link, given = lists["strip_gaussian"]
    one = np.stack([at[np.where(end > 0, low, high)], at[free], link, given])
    both = np.stack([at[low], at[high], at[free], link, given])
    corner = lists["corner_gaussian"]
    return {
        "strip_gaussian": both[:, ~tail],
        "tail_gaussian": one[:, tail],
        "tail_sign": -1.0 * end[tail],
        "corner_gaussian": np.vstack([at[corner[:4]], corner[4:]]),
    }


def patterns(
    shape: tuple[int, int],
    task: np.ndarray,
    rows: Rows,
    parts: np.ndarray,
    none: np.ndarray,
    labels: Arrays,
    label_at: tuple[np.ndarray, np.ndarray],
    sampled: np.ndarray,
    first: np.ndarray,
) -> tuple[Arrays, Arrays]:
    """Which line, term and label each query has at each stage; queries that are alike are kept once.

    Arrays of these patterns, and arrays of all queries.

    ``shape`` is (query, stage); ``parts`` and ``none`` are those of `rows_given_ease`; ``label_at`` says which
    query and stage each label belongs to. Queries ``first`` (complete query,) are complete, and stand in front of
    the patterns in ``query_pattern``. Queries that are not ``sampled`` (query,) have labels given signals:
    ``given_signals`` holds their numbers and where what their signals say by themselves is: among the patterns,
    or, behind all patterns, among the complete queries.
    """
    n_stages, n_first = shape[1], len(first)
    line, term, label = (np.full(shape, index) for index in (*none, len(label_at[0])))
    line[rows.query, rows.stage], term[rows.query, rows.stage] = parts
    alike = np.column_stack([values.reshape(len(values), -1) for values in labels.values()])
    _, some, same = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    label[label_at] = some[same.reshape(-1)]
    rest = np.ones(shape[0], dtype=bool)
    rest[first] = False
    other, given = np.flatnonzero(rest), np.flatnonzero(~sampled & rest)
    every = np.hstack([line, term, label, task[:, None]])[other]
    signals = np.hstack([line, term, np.full(shape, len(label_at[0])), task[:, None]])[given]
    distinct, index = np.unique(np.vstack([every, signals]), axis=0, return_inverse=True)
    index = index.reshape(-1) + n_first
    line, term, label, of_task = np.split(distinct, np.cumsum([n_stages] * 3), axis=1)
    has = term < none[1]
    right = np.append(labels["label_correct"], -1.0)[label]  # -1 where there is no label
    labelled = (right >= 0.0).any(axis=1)
    pattern = np.empty(shape[0], dtype=np.int64)
    pattern[first], pattern[other] = np.arange(n_first), index[: len(other)]
    alone = np.flatnonzero(~sampled[first])
    behind = n_first + len(distinct) + alone
    used, label = np.unique(label, return_inverse=True)
    used = used[used < len(label_at[0])]  # no label is the last
    of_patterns = {
        "pattern_line": line,
        "pattern_terms": np.stack([np.nonzero(has)[0], term[has]]),
        "pattern_label": label.reshape(line.shape),
        "pattern_column": of_task * n_stages + np.arange(n_stages),
        "pattern_failed": np.flatnonzero(labelled & (right <= 0.0).all(axis=1)),
        "used_label": used,
    }
    return of_patterns, {
        "all_task": np.concatenate([task[first], of_task[:, 0]]),
        "all_labelled": np.concatenate([np.isin(first, label_at[0]), labelled]).astype(float),
        "query_pattern": pattern,
        "given_signals": np.stack([np.append(given, first[alone]), np.append(index[len(other) :], behind)]),
    }
