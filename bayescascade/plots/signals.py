"""The picture of several signals side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayescascade.display.signals import LABELS, draw_signals
from bayescascade.errors import CascadeError, bad_value


def plot_signal_quality(
    quality: pd.DataFrame, *, measure: str = "auroc", ax: Any = None, figsize: tuple[float, float] | None = None
) -> np.ndarray:
    """Draw how well each signal tells right answers from wrong ones, with its interval.

    Examples
    --------
    >>> import bayescascade as bc
    >>> axes = bc.plot_signal_quality(bc.signal_quality(bc.load_example()))
    >>> axes.shape
    (3,)

    Parameters
    ----------
    quality : DataFrame
        As `signal_quality` returns it.
    measure : str
        ``"auroc"`` or ``"auarc"``.
    ax : matplotlib Axes or array of them, optional
        One for each stage.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

    Returns
    -------
    ndarray of matplotlib Axes
        One for each stage, the best signal on top. The dashed line is a signal that says nothing.

    Raises
    ------
    CascadeError
        For another table, another measure, or too few axes.
    """
    if measure not in LABELS:
        raise bad_value("measure", measure, "choose 'auroc' or 'auarc'")
    if not isinstance(quality, pd.DataFrame) or not {measure, f"{measure}_low", "accuracy"} <= {*quality}:
        raise CascadeError(
            f"plot_signal_quality wants what signal_quality returns; {type(quality).__name__} came."
        )
    return draw_signals(ax, quality, measure, figsize)
