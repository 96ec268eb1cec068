"""The check of accepting and rejecting thresholds, wherever they come from; NumPy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayescascade.errors import CascadeError
from bayescascade.signals.kinds import check_kind, clip_rounding, off_scale

Array = NDArray[np.float64]


def check_accept(accept: Array, stages: Sequence[str], kind: str) -> None:
    """Raise `CascadeError` unless accepting thresholds (..., stage) are on the scale and the last one is -inf."""
    last = accept[..., -1].ravel()
    if not (last == -np.inf).all():
        wrong = float(last[last != -np.inf][0])
        raise CascadeError(
            f"the last stage ({stages[-1]!r}) always accepts, so its threshold should be -inf but is {wrong!r}"
        )
    _check_scale("threshold", accept, stages, kind, "-inf (always accept) or inf (never accept)")


def check_reject(reject: Array, accept: Array, stages: Sequence[str], kind: str) -> None:
    """Raise `CascadeError` unless rejecting thresholds (..., stage) are on the scale, at most ``accept``."""
    _check_scale("rejecting threshold", reject, stages, kind, "-inf (never abstain) or inf (always abstain)")
    above = reject > accept
    above[..., -1] = False  # the last stage accepts from its rejecting threshold on
    if above.any():
        at = tuple(np.argwhere(above)[0])
        raise CascadeError(
            f"stage {stages[at[-1]]!r} would accept from {float(accept[at])!r} on but abstain below "
            f"{float(reject[at])!r}; a rejecting threshold should be at most the accepting one"
        )


def _check_scale(what: str, values: Array, stages: Sequence[str], kind: str, or_else: str) -> None:
    # A finite threshold off the scale was meant for another kind: it would never, or always, accept.
    wrong = np.isnan(values) | (np.isfinite(values) & off_scale(clip_rounding(values, kind), kind))
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        raise CascadeError(
            f"{what} {float(values[at])!r} of stage {stages[at[-1]]!r} is off the scale of {kind!r}: it should be "
            f"{check_kind(kind).description}, or {or_else}"
        )
