"""What confidences may be that do not look like the kind they are given as."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bayescascade._common.messages import listed
from bayescascade.errors import option, said
from bayescascade.logs.tables import KIND
from bayescascade.signals.kinds import KINDS, LOGARITHMS, off_scale

Matrix = NDArray[np.float64]  # (query, stage)

_MOST_COUNT = 50.0  # whole numbers up to here are seldom percentages: no model is so unsure of all it says
_PERCENT = 20.0  # nor does one give percentages all of which are below this
_SOME = 0.1  # share from which on values off the scale are no slip
_LEAST = 10  # values from which on their largest says something


def what_is_meant(confidence: Matrix, names: list[str], kind: str) -> str:
    """What confidences, some of them off the scale of ``kind``, look like, and how to give them; or nothing.

    Examples
    --------
    >>> print(what_is_meant(np.array([[3.0, 5.0], [4.0, 5.0]]), ["small", "large"], "probability"))
    they look like counts or ratings: divide counts of agreeing samples by the number of samples and give \
confidence_kind='votes', and give ratings as confidence_kind='score'
    >>> print(what_is_meant(np.array([[47.5, 81.0]]), ["small", "large"], "probability"))
    did you mean confidence_kind='percent', or should they be divided by 100?
    """
    off = off_scale(confidence, kind)
    there = [stage for stage in range(len(names)) if off[:, stage].any()]
    whose = listed([names[stage] for stage in there])
    values = confidence[:, there][~np.isnan(confidence[:, there])]
    low, high = float(values.min()), float(values.max())
    alone = len(there) < np.count_nonzero(np.isfinite(confidence).any(axis=0))
    if low >= 0.0 and 1.0 < high <= _MOST_COUNT and (values == np.round(values)).all():
        return "they look like counts or ratings: " + _counts()
    if alone and kind in ("probability", "margin", "votes") and low >= 0.0 and _PERCENT < high <= 100.0:
        return f"those of stage {whose} alone look like percentages; divide them by 100"
    fitting = [name for name in KINDS if name != "score" and not off_scale(confidence, name).any()]
    if fitting and (fitting[0] != "percent" or high > _PERCENT):
        scale = ", or should they be divided by 100" if fitting[0] == "percent" else ""
        return said("did you mean {}{}?", (option(KIND, fitting[0]), scale))
    if kind in LOGARITHMS and low >= 0.0:
        of = f" of stage {whose}" if alone else ""
        return f"if those{of} are logarithms with their sign turned, as losses are, give -x"
    if off.sum() >= _SOME * np.isfinite(confidence).sum():
        return said(
            "numbers on any scale that are higher where answers are better may be given as {}, and -x where they "
            "are lower",
            (option(KIND, "score"),),
        )
    return ""


def _counts() -> str:
    return said(
        "divide counts of agreeing samples by the number of samples and give {}, and give ratings as {}",
        (option(KIND, "votes"), option(KIND, "score")),
    )


def looks_like_another(confidence: Matrix, names: list[str], kind: str) -> Iterator[str]:
    """Stages whose confidences are all near the lower end of a scale that goes on far beyond."""
    other, beyond = {"percent": ("probability", _PERCENT), "logprob_gap": ("margin", 1.0)}.get(kind, ("", 0.0))
    top = np.nanmax(confidence, axis=0, initial=0.0)
    enough = np.isfinite(confidence).sum(axis=0) >= _LEAST
    small = np.flatnonzero(enough & (top > 0.0) & (top <= beyond))
    if len(small) < len(names):  # one stage may well be unsure of all it says
        small = small[top[small] <= 1.0]
    if not len(small):
        return
    most = float(top[small].max())
    if len(small) < len(names):
        advice: str = "bring all stages to one scale"
    elif most <= 1.0:
        advice = said("if each is {}, give {}", (KINDS[other].description, option(KIND, other)))
    else:
        advice = _counts()
    yield said(
        "all confidences of {} are at most {:g}, which is low for {}; {}",
        (
            ("stage " if len(small) == 1 else "the stages ") + listed([names[stage] for stage in small]),
            most,
            KINDS[kind].description,
            advice,
        ),
    )
