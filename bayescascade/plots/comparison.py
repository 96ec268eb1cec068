"""The picture of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayescascade.display.style import interval_prob
from bayescascade.rivals.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_comparison(
    comparison: Comparison,
    *,
    reference: str | None = None,
    ci_prob: float | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Each method's area less a reference's, in percent, with paired intervals; left of zero is better.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> found = bc.compare(log, methods=["ascent_raw", "ascent_calibrated", "oracle"], progressbar=False)
    >>> ax = bc.plot_comparison(found)
    >>> ax.get_xlabel()
    'error over all costs, against ascent_raw'

    Parameters
    ----------
    comparison : Comparison
        As `compare` returns it.
    reference : str, optional
        Name of a method; by default the first.
    ci_prob : float, optional
        Probability of the intervals, in (0, 1). By default 90%, or what ArviZ's
        ``rcParams["stats.ci_prob"]`` was set to.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str, optional
        Over the picture; by default what it shows, nothing where it is empty.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    CascadeError
        For a reference that was not run, or ``ci_prob`` outside (0, 1).
    """
    ci_prob = interval_prob(ci_prob)
    return comparison.plot(ax, reference=reference, ci_prob=ci_prob, title=title, figsize=figsize)
