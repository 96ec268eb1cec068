"""The likelihood of signals, one source for the model (PyTensor) and for pointwise values of draws (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

from bayescascade.model.copulas.family import get_family, log_rectangle, log_strip
from bayescascade.model.copulas.namespace import MASS_MIN


def signal_logp(
    log_mass: Any, tau: Any, data: dict[str, Any], families: Sequence[str], rotated: bool, xp: Any
) -> Any:
    """Log-likelihood of each row of signals given the row before it in its query.

    Rows are ordered by case: no link or independence; then, for each family, both sides continuous, one side an
    atom, both atoms. ``log_mass`` is (column, cell) and ``tau`` (link,), the links of each task in turn. What
    depends on one signal or on one link alone is computed once for it, before pairs are formed, and pairs of
    atoms are few and computed once each. The same code runs on PyTensor variables and on NumPy arrays that carry
    one further axis, over draws.
    """
    mass = xp.exp(log_mass) * data["cell_used"]
    below = xp.flatten(xp.cumsum(mass, axis=1) - mass)
    log_mass, mass = xp.flatten(log_mass), xp.flatten(mass)

    alone = log_mass[data["row_cell"]] + data["row_log_shape"]
    parts = [data["row_unlinked"]]
    for name in families:
        formulas = get_family(name).formulas
        cell, place = data[f"point_cell_{name}"], data[f"point_place_{name}"]
        u = xp.minimum(below[cell] + mass[cell] * place[0], 1.0)
        if rotated:
            u = u + place[1] * (1.0 - 2.0 * u)
        points, parameters = formulas.point(u, xp), formulas.parameters(tau, xp)

        def at(index: Any, of: tuple[Any, ...] = points) -> tuple[Any, ...]:
            return tuple(value[index] for value in of)

        left, right, link = _unpack(data[f"free_{name}"], 3)
        parts.append(formulas.logpdf(at(left), at(right), at(link, parameters), xp))
        low, high, free, link, atom = _unpack(data[f"strip_{name}"], 5)
        strip = log_strip(formulas, at(low), at(high), at(free), at(link, parameters), xp)
        parts.append(strip - _log_atom(alone[atom], xp))
        *corners, link, left, right = _unpack(data[f"corner_{name}"], 7)
        corner = log_rectangle(formulas, list(map(at, corners)), at(link, parameters), xp)
        corner = corner - _log_atom(alone[left], xp) - _log_atom(alone[right], xp)
        parts.append(corner[data[f"corner_of_{name}"]])
    return alone + xp.concatenate(parts)


def _log_atom(log_mass: Any, xp: Any) -> Any:
    # the floor of the masses that it divides
    return xp.maximum(log_mass, log(MASS_MIN))


def _unpack(packed: Any, n: int) -> list[Any]:
    # PyTensor variables cannot be unpacked; few packed arrays compile faster than many small ones
    return [packed[i] for i in range(n)]
