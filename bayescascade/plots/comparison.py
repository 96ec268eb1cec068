"""The picture of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayescascade.rivals.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_comparison(
    comparison: Comparison, *, reference: str | None = None, ci_prob: float = 0.9, ax: Axes | None = None
) -> Axes:
    """Each method's area less a reference's, in percent, with paired intervals; left of zero is better.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> found = bc.compare(log, methods=["ascent_raw", "ascent_calibrated", "oracle"], progressbar=False)
    >>> ax = bc.plot_comparison(found)
    >>> ax.get_xlabel()
    'area under error against cost, less that of ascent_raw [%]'

    Parameters
    ----------
    comparison : Comparison
        As `compare` returns it.
    reference : str, optional
        Name of a method; by default the first.
    ci_prob : float
        Probability of the intervals, in (0, 1).
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    CascadeError
        For a reference that was not run, or ``ci_prob`` outside (0, 1).
    """
    return comparison.plot(ax, reference=reference, ci_prob=ci_prob)
