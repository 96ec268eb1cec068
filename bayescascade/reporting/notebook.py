"""`explore`: the frontier in a notebook, with sliders for the price of an error and for an error target."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.html import note, table_of, wrapped
from bayescascade.display.svg import moved
from bayescascade.errors import CascadeError
from bayescascade.reporting.explorer import Explorer, bars, make_explorer

_numbers = count(1)


class FrontierExplorer:
    """Sliders over the frontier of a fit; what `explore` returns. A notebook shows it as it stands.

    Attributes
    ----------
    price, target : ipywidgets sliders
        What an error costs, in the log's currency; and the error that is not exceeded with the probability asked
        for. Moving either picks a point, and moves the other one along.
    table, figure : ipywidgets.HTML
        The point's thresholds with what they bring, and the frontier with a marker.
    box : ipywidgets.VBox
        All of it.
    point : int
        Which point of the frontier is picked, by rising cost.
    """

    def __init__(self, explorer: Explorer) -> None:
        import ipywidgets as widgets

        self._explorer, self._busy = explorer, False
        svg, self._places = explorer.figure(f"explore-{next(_numbers)}")
        # an SVG of fixed size would be cut off in a narrow cell
        self._svg = svg.replace("<svg ", '<svg width="100%" ', 1)
        wide: dict[str, Any] = {"style": {"description_width": "13em"}}
        wide["layout"] = widgets.Layout(width="36em", max_width="98%")
        low, high = np.log10(explorer.price_range)
        least, most = explorer.target_range
        asked = {"description": "a wrong answer costs", "readout_format": ".3g", "step": 0.005, **wide}
        self.price = widgets.FloatLogSlider(value=10 ** (0.5 * (low + high)), min=low, max=high, **asked)
        promise = f"error at most (P = {explorer.prob:g})"
        asked = {"description": promise, "readout_format": ".1%", "step": 0.001, **wide}
        self.target = widgets.FloatSlider(value=most, min=least, max=most, **asked)
        self.table, self.figure = widgets.HTML(), widgets.HTML()
        self.box = widgets.VBox([self.price, self.target, self.table, self.figure])
        self.point = 0
        self.price.observe(self._by_price, names="value")
        self.target.observe(self._by_target, names="value")
        self._by_price()

    @property
    def thresholds(self) -> xr.DataArray:
        """Thresholds (stage,) of the point, for `evaluate`, `score` or `report`."""
        return self._explorer.points["threshold"].isel(point=self.point).copy()

    def _by_price(self, change: Any = None) -> None:
        if self._busy:
            return
        point = self._explorer.for_price(self.price.value)
        kept = float(self._explorer.points["kept"][point])
        self._follow(self.target, kept)
        self._show(point, f"Best if a wrong answer costs {self.price.value:.3g}.", None)

    def _by_target(self, change: Any = None) -> None:
        if self._busy:
            return
        point, kept = self._explorer.for_target(self.target.value)
        price = float(self._explorer.prices()[point])
        if np.isfinite(price):  # a point between two that prices pick is best at none
            self._follow(self.price, price)
        lead = f"Cheapest that keep an error of at most {self.target.value:.1%}."
        self._show(point, lead, kept)

    def _follow(self, slider: Any, value: float) -> None:
        """Move the other slider without its picking a point in turn."""
        self._busy = True
        try:
            slider.value = value
        finally:
            self._busy = False

    def _show(self, point: int, lead: str, kept: bool | None) -> None:
        explorer, self.point = self._explorer, point
        ci = f"{explorer.points.attrs['ci_prob']:.0%} interval"
        error, cost = (explorer.band(name, point) for name in ("error", "cost"))
        brings = f"Error {error}, cost {cost} per 1,000 queries ({ci}s). {explorer.sure(point)}"
        columns = ("stage", "threshold", "called for", f"answers ({ci})")
        self.table.value = wrapped(
            note(brings, lead=lead, passed=kept), table_of(columns, explorer.rows(point), caption="Thresholds")
        )
        x, y = self._places[point, :2]
        self.figure.value = wrapped(moved(self._svg, bars(self._places[point]), x, y))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return f"FrontierExplorer: {self._explorer.sentence(self.point)}"


def explore(fit: xr.DataTree, *, prob: float = 0.9, ci_prob: float = 0.9) -> FrontierExplorer:
    """Show the frontier with sliders for a price of an error and an error target; for notebooks.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.reporting.notebook import explore
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> explorer = explore(fit)
    >>> explorer.target.value = 0.3  # as if the slider had been moved
    >>> dict(explorer.thresholds.sizes)
    {'stage': 3}

    Parameters
    ----------
    fit : DataTree
    prob : float
        Posterior probability with which an error target is kept, in (0, 1).
    ci_prob : float
        Probability of the intervals, in (0, 1).

    Returns
    -------
    FrontierExplorer
        Its ``thresholds`` are those that the sliders currently show.

    Raises
    ------
    CascadeError
        Without ipywidgets, which the extra ``notebook`` installs, or for probabilities out of range.

    Notes
    -----
    The points are those of `frontier`, computed once. `tune` may find slightly better thresholds between two of
    them.
    """
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        raise CascadeError(
            "explore needs ipywidgets, which is not installed; install the extra that has it: "
            'pip install "bayescascade[notebook]".'
        ) from None
    return FrontierExplorer(make_explorer(fit, ci_prob=ci_prob, prob=prob))
