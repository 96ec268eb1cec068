"""The arrays of a design as two vectors, for compiled models.

The sampler's compiler writes code for each variable that a model shares with its data, and forty of them took it
as long as the model itself: docs/evidence/fit_time.md. A model that `build_model` returns has each array by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# What is observed stays by itself: PyMC takes no part of a vector for it.
OBSERVED = ("query_seen", "row_signal", "label_correct")


def pack(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two vectors: the values of all real arrays, and those of whole ones after the size and shape of every array.

    Examples
    --------
    >>> import numpy as np
    >>> pack({"zero": np.zeros(1), "line": np.array([[3, 4], [5, 6]])})
    {'real': array([0.]), 'whole': array([1, 1, 4, 2, 2, 3, 4, 5, 6])}
    """
    real, whole = _by_kind(arrays)
    layout = [[array.size, *array.shape] for array in (real | whole).values()]
    return {name: arrays[name] for name in OBSERVED if name in arrays} | {
        "real": np.concatenate([array.ravel() for array in real.values()]),
        "whole": np.concatenate([*layout, *(array.ravel() for array in whole.values())]),
    }


def unpack(packed: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The variables that stand for each of ``arrays``, given those that stand for what `pack` makes of them.

    Of ``arrays`` only names, dtypes and numbers of axes are used; sizes are those that are packed.
    """
    import pytensor.tensor as pt

    real, whole = _by_kind(arrays)
    *starts, end = np.cumsum([0, *(1 + array.ndim for array in (real | whole).values())]).tolist()
    numbers = packed["whole"]
    sizes = numbers[:end][starts]
    parts = [
        *pt.split(packed["real"], sizes[: len(real)], n_splits=len(real)),
        *pt.split(numbers[end:], sizes[len(real) :], n_splits=len(whole)),
    ]
    found = {name: packed[name] for name in OBSERVED if name in arrays}
    for (name, array), part, start in zip((real | whole).items(), parts, starts, strict=True):
        shape = [numbers[start + 1 + axis] for axis in range(array.ndim)]
        found[name] = part.reshape(shape) if array.ndim > 1 else part
    return found


def _by_kind(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The real arrays and the whole ones, without what is observed."""
    return [
        {name: array for name, array in arrays.items() if array.dtype == dtype and name not in OBSERVED}
        for dtype in (np.float64, np.int64)
    ]
