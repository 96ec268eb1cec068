"""The likelihood of queries with a continuous signal of every stage and Gaussian links; PyTensor and NumPy.

Given theta the normal scores s of such a query's ranks are normal, and theta enters the logarithm of their density
as a quadratic function. So theta given the signals is normal, with a mean that is linear in s and a variance that
all queries of a task share, and no nodes are needed for the signals. The labels are integrated over this normal
distribution by a Gauss-Hermite rule about its mean.

Stages are the first axis here, so that what is done for one of them runs along all queries. In NumPy a last axis
over draws may follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade.model.copulas import gaussian
from bayescascade.model.options import Structure
from bayescascade.model.query_rows import Places
from bayescascade.model.rows import Rows

# P(labels | theta) is smoother than the density of signals, and the nodes go where theta is:
# docs/evidence/quadrature.md has the measurements.
_node, _weight = np.polynomial.hermite_e.hermegauss(9)
LABEL_NODE, LABEL_WEIGHT = _node, _weight / _weight.sum()


def complete_queries(rows: Rows, shape: tuple[int, int]) -> np.ndarray:
    """Which queries have a signal of every stage, none an atom, and links that are Gaussian or none (query,)."""
    names = list(rows.ends)
    smooth = rows.case == 0
    if "gaussian" in names:
        smooth |= rows.case == 1 + 3 * names.index("gaussian")
    smooth &= ~rows.is_atom
    return np.bincount(rows.query[smooth], minlength=shape[0]) == shape[1]


def complete_arrays(
    rows: Rows,
    complete: np.ndarray,
    task: np.ndarray,
    shape: tuple[int, int],
    places: Places,
    label_at: tuple[np.ndarray, np.ndarray],
    right: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays for `complete_logp`, and the numbers of the ``complete`` queries in their order, labelled ones first.

    ``label_at`` says which query and stage each label belongs to, ``right`` (label,) whether it is 1.
    """
    label = np.full(shape, len(right))
    label[label_at] = np.arange(len(right))
    labelled = (label < len(right)).any(axis=1)
    query = np.flatnonzero(complete)
    query = query[np.argsort(~labelled[query], kind="stable")]
    number = np.zeros(shape, dtype=np.int64)
    number[rows.query, rows.stage] = np.arange(len(rows.query))
    row = number[query].T.reshape(-1)  # stage after stage
    score, free = places.points(row, name="complete")
    label = label[query[labelled[query]]].T
    sign = np.append(2.0 * right - 1.0, 0.0)[label]
    failed = (sign != 0.0).any(axis=0) & (sign <= 0.0).all(axis=0)
    column = np.arange(len(rows.column_link))
    first, last = column % shape[1] == 0, column % shape[1] == shape[1] - 1
    arrays = {
        "complete_score": score,
        "complete_row": np.arange(len(row)).reshape(shape[1], -1),
        "complete_task": task[query],
        "complete_label": label,
        "complete_sign": sign,
        "complete_failed": np.flatnonzero(failed),
        "column_link": rows.column_link,
        "column_before": np.where(first, column, column - 1),
        "column_after": np.where(last, len(column), column + 1),
        "task_column": column.reshape(-1, shape[1]).T,
    }
    return arrays | free, query


def complete_logp(
    score: Any,
    logit: Any,
    tau: Any,
    loading: Any,
    discrimination: Any,
    data: dict[str, Any],
    structure: Structure,
    xp: Any,
) -> tuple[Any, Any]:
    """Log density of the scores of each complete query, alone and with its labels if it has an answer (query,).

    The density is that relative to independence: 0 where scores do not depend on each other. ``score`` (point,)
    has those of all stages in turn, ``logit`` (label,) that of P(correct) at ease 0.
    """
    zero, task, one = data["zero"], data["complete_task"], structure.n_tasks == 1
    rho, c = gaussian.parameters(tau, xp)
    link = data["column_link"]  # none is the last
    rho, c = xp.concatenate([rho, zero])[link], xp.concatenate([c, zero + 1.0])[link]
    scale = scale_given_ease(loading)
    pull, before = loading * scale, data["column_before"]
    # own s - past s_before - b theta is standard normal, given theta and s_before
    own, past, b = scale / c, rho * scale[before] / c, (pull - rho * pull[before]) / c

    def after(x: Any) -> Any:
        return xp.concatenate([x, zero])[data["column_after"]]

    def by_stage(x: Any) -> Any:
        """What each column has, by stage (stage, task), or of the only task there is (stage,)."""
        return x if one else x[data["task_column"]]

    def each(x: Any, of: Any = task) -> Any:
        """What the tasks of some queries have (stage, query), given that of each task."""
        return x[:, None] if one else x[:, of]

    # given the signals theta has this precision, 1 / spread^2, and the mean linear / precision: of each task
    precision = 1.0 + by_stage(b * b).sum(0)
    spread = precision**-0.5
    constant = by_stage(xp.log(own)).sum(0) - 0.5 * xp.log(precision)
    square, cross, weight = 0.5 * (1.0 - own * own - after(past * past)), own * past, b * own - after(b * past)
    square, cross, weight = (each(by_stage(x)) for x in (square, cross, weight))
    s = score[data["complete_row"]]  # (stage, query)
    linear = (weight * s).sum(0)
    mean = linear * (spread * spread if one else (spread * spread)[task])
    signals = (square * s * s).sum(0) + (cross[1:] * s[1:] * s[:-1]).sum(0) + 0.5 * linear * mean
    signals = signals + (constant if one else constant[task])

    # P(label | theta) = exp(-above) / (a + b exp(-sign slope (theta - mean))), where a and b are at most 1
    label, sign, slope = data["complete_label"], data["complete_sign"], by_stage(discrimination)
    n = label.shape[1]
    of, mean = task[:n], mean[:n]
    against = -sign * (xp.concatenate([logit, zero])[label] + each(slope, of) * mean)
    above, a, other = halves(against, xp)
    right, wrong = other * xp.maximum(sign, 0.0), other * xp.maximum(-sign, 0.0)
    shift, product = slope * spread, 1.0
    for j in range(structure.n_stages):
        step = shift[j] * data["label_node"] if one else nodes(shift[j]) * data["label_node"]
        tilt, back = (x if one else x[of] for x in (xp.exp(-step), xp.exp(step)))
        product = product * (nodes(a[j]) + nodes(right[j]) * tilt + nodes(wrong[j]) * back)
    labels = xp.log((data["label_weight"] / product).sum(1)) - above.sum(0)
    return signals, xp.concatenate([signals[:n] + labels, signals[n:]])


def nodes(values: Any) -> Any:
    """Add the axis of nodes after that of rows."""
    return values[:, None]


def scale_given_ease(loading: Any) -> Any:
    """One over the standard deviation that the ease leaves of a stage's normal score."""
    return ((1.0 - loading) * (1.0 + loading)) ** -0.5


def halves(against: Any, xp: Any) -> tuple[Any, Any, Any]:
    """The sum 1 + exp(against) as exp(above) (one + other): above, one and other, of which the larger is 1.

    Products of such sums over the stages of a query neither over- nor underflow.
    """
    small, wins = xp.exp(-abs(against)), against > 0.0
    return xp.maximum(against, 0.0), xp.where(wins, small, 1.0), xp.where(wins, 1.0, small)
