"""The likelihood of signals, one source for the model (PyTensor) and for pointwise values of draws (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayescascade.copulas import MASS_MIN, get_family


def signal_logp(
    log_mass: Any, tau: Any, data: dict[str, Any], families: Sequence[str], rotated: bool, xp: Any
) -> Any:
    """Log-likelihood of each row of signals given the row before it in its query.

    Rows are ordered by case: no link or independence; then, for each family, both sides continuous, one side an
    atom, both atoms. ``log_mass`` is (column, cell) and ``tau`` (link,), the links of each task in turn. Pairs of
    atoms are few and computed once each. The same code runs on PyTensor variables and on NumPy arrays that carry
    one further axis, over draws.
    """
    mass = xp.exp(log_mass) * data["cell_used"]
    below = xp.flatten(xp.cumsum(mass, axis=1) - mass)
    log_mass, mass = xp.flatten(log_mass), xp.flatten(mass)

    cell = data["row_cell"]
    place = data["row_place"]
    place_low, place_high, log_shape = place[0], place[1], place[2]
    start, width = below[cell], mass[cell]
    low = xp.minimum(start + width * place_low, 1.0)
    high = xp.minimum(start + width * place_high, 1.0)

    def log_atom(row: Any) -> Any:
        return xp.log(xp.maximum(high[row] - low[row], MASS_MIN))

    def at(row: Any, link: Any) -> tuple[Any, Any]:
        """Ends of a row's interval on the scale of its link's family, which a rotation turns round."""
        if not rotated:
            return low[row], high[row]
        turn = data["link_turned"][link]
        shift = turn * (1.0 - low[row] - high[row])
        return low[row] + shift, high[row] + shift

    parts = [data["row_unlinked"]]
    for name in families:
        family = get_family(name)
        left, right, link = _three(data[f"free_{name}"])
        parts.append(family.logpdf(at(left, link)[0], at(right, link)[0], tau[link], xp))
        atom, free, link = _three(data[f"strip_{name}"])
        parts.append(family.log_strip(*at(atom, link), at(free, link)[0], tau[link], xp) - log_atom(atom))
        left, right, link = _three(data[f"corner_{name}"])
        mass = family.log_rectangle(*at(left, link), *at(right, link), tau[link], xp)
        parts.append((mass - log_atom(left) - log_atom(right))[data[f"corner_of_{name}"]])
    return log_mass[cell] + log_shape + xp.concatenate(parts)


def _three(packed: Any) -> tuple[Any, Any, Any]:
    # PyTensor variables cannot be unpacked; few packed arrays compile faster than many small ones
    return packed[0], packed[1], packed[2]
