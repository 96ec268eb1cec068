"""What more labels are worth: they move thresholds, and better thresholds save money on every query served.

Some posterior draws each make new labelled queries, the model is fitted again to old and new queries together, and
`_preposterior` turns what these refits know better into the expected value of any number of labels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from bayescascade._common.html import frame_of, note, wrapped
from bayescascade._common.messages import say_if_long
from bayescascade._common.parallel import map_blocks, n_cores
from bayescascade._common.validation import check_positive
from bayescascade.analysis.evsi import Space, contenders, fit_curve, gains, learn, leave_one_out, make_space, plan
from bayescascade.analysis.refits import QUERIES, Decisions, Refits
from bayescascade.cascade.positions import to_positions
from bayescascade.display.value import draw_label_value
from bayescascade.errors import CascadeError, Code, bad_value, option
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.free_positions import split_at_atoms
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.kernel import mean_kernel
from bayescascade.posterior.schema import require
from bayescascade.tuning.tune import tune

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_N_TUNED = 32  # draws whose own best thresholds are candidates
_STEPS = (1 / 3, 2 / 3, 1.0)  # of the way from the thresholds that are best now to a draw's own
_CI = (0.05, 0.95)
_THOUSAND = 1000.0
ALL = "all stages"


@dataclass(frozen=True)
class LabelValue:
    """What more labelled queries are worth.

    Attributes
    ----------
    data : Dataset
        Over (labelled, n_labels): ``evsi`` (expected value of sample information, in money per 1,000 queries
        served), ``evsi_mcse`` (its Monte Carlo error), ``label_cost``, ``net`` (worth over the horizon less the
        labels' cost; NaN without a horizon), ``pays_from`` (queries to be served from which on the labels pay),
        ``error_width``, ``cost_width`` (expected width of the 90% interval at the thresholds that are best now).
    evpi : float
        What it would be worth to know everything the model is unsure of, in money per 1,000 queries served.
    best : int, optional
        Number of labelled queries with the greatest net worth; 0 where none pays, None without a horizon.
    best_stages : str, optional
        The stages to label then, by the name in ``labelled``.
    text : str
        The answer in words.
    """

    data: xr.Dataset
    evpi: float
    best: int | None
    best_stages: str | None
    text: str

    @property
    def table(self) -> pd.DataFrame:
        """One row for each choice of stages and number of labels."""
        return self.data.to_dataframe().reset_index()

    def plot(
        self, ax: Axes | None = None, *, title: str | None = None, figsize: tuple[float, float] | None = None
    ) -> Axes:
        """Draw the worth of labels against their number; see `plot_label_value` for the arguments."""
        return draw_label_value(ax, self.data, self.evpi, title=title, figsize=figsize)

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.table.to_string(index=False, float_format='{:.4g}'.format)}"

    def _repr_html_(self) -> str:
        return wrapped(note(self.text), frame_of(self.table, caption="Money per 1,000 queries served", digits=4))


def label_value(
    fit: xr.DataTree,
    *,
    error_price: float,
    n_labels: Sequence[int] = (25, 50, 100, 200, 400),
    stages: str | Sequence[str] = "all",
    queries: str = "new",
    label_price: float = 0.0,
    horizon: int | None = None,
    n_simulations: int = 28,
    random_seed: int | None = None,
) -> LabelValue:
    """Say what more labelled queries are worth, how many pay, and at which stage.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.analysis.label_value import label_value
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> worth = label_value(fit, error_price=0.02, n_labels=(25, 50), n_simulations=8, random_seed=1)
    >>> dict(worth.data["evsi"].sizes)
    {'labelled': 1, 'n_labels': 2}

    Parameters
    ----------
    fit : xarray.DataTree
        Of one task, with one family for each link.
    error_price : float
        What one wrong answer costs, in the log's currency.
    n_labels : sequence of int
        Numbers of queries to be labelled.
    stages : str or sequence of str
        Whose answers are labelled: ``"all"`` stages'; those of some stages by name; or ``"each"``, which compares
        all stages with every stage alone.
    queries : str
        ``"new"``: queries that the log does not hold yet; every stage is run on them, so their confidences and
        costs teach, too. ``"logged"``: queries that the log holds without labels.
    label_price : float
        What it costs to label one answer of one stage, in the log's currency.
    horizon : int, optional
        Queries that will be served with the thresholds. The worth of labels grows with it, their cost does not.
    n_simulations : int
        Refits for each choice of stages, at least 8; more make the Monte Carlo error smaller.
    random_seed : int, optional

    Returns
    -------
    LabelValue

    Raises
    ------
    CascadeError
        For numbers out of range, unknown stages, more ``"logged"`` queries than there are without labels, and a
        fit of several tasks or of one task out of several.

    Notes
    -----
    The worth of a decision is minus the expected loss, error_price * error + cost. The decisions compared are the
    thresholds that `tune` finds, those that single draws prefer, points between the two, and every stage used
    alone. What labels are worth is EVSI = E max E[worth | old and new queries] - max E[worth | old queries]. What
    it costs to run the stages on new queries is not counted.

    New queries are simulated from ``n_simulations`` draws, and the model is fitted again to old and new ones,
    shortly (2 chains of 250 draws); so time grows with the log, with ``queries="logged"`` only with its labels.

    References
    ----------
    Heath, Kunst, Jackson, Strong et al. (2019), doi:10.1177/0272989X19837983, moment matching across sample sizes;
    Raiffa & Schlaifer (1961), Applied Statistical Decision Theory.
    """
    require(
        fit,
        apart=", which the other tasks inform, too; fit the log of this task by itself, and ask again.",
    )
    check_positive("error_price", error_price)
    price = float(error_price)
    sizes = _check(n_labels, queries, label_price, horizon, n_simulations)
    draws = get_draws(fit)
    options = _options(stages, draws.stages)
    seed = int(np.random.default_rng().integers(2**31)) if random_seed is None else int(random_seed)
    refits = Refits(fit, draws, list(options.values()), queries, seed)
    if queries == "logged" and sizes[-1] > refits.n_free:
        raise CascadeError(
            option("n_labels", Code(sizes[-1]))
            + f" is more than the {refits.n_free} queries that the log holds with the confidences, but without "
            "the labels, of these stages; give fewer, or " + option("queries", "new") + ".",
            parameter="n_labels",
            value=n_labels,
        )
    decisions = _decisions(fit, draws, price)
    error, cost = decisions.outcomes(draws)
    keep = contenders(-(error * price + cost))
    decisions, error, cost = decisions.take(keep), error[:, keep], cost[:, keep]
    space = make_space(-(error * price + cost))
    size, width, covariance = _simulate(refits, decisions, space, price, sizes, n_simulations, seed)

    now = {name: _width(values[:, space.best]) for name, values in (("error", error), ("cost", cost))}
    parts = []
    for o in range(len(options)):
        part = _worth(space, size, covariance[:, o], sizes, len(draws.chains))
        for i, (name, whole) in enumerate(now.items()):
            s, h = fit_curve(size, 1.0 - (width[:, o, i] / whole) ** 2) if whole > 0 else (0.0, 1.0)
            part[f"{name}_width"] = whole * np.sqrt(1.0 - s * sizes / (sizes + h))
        parts.append(xr.Dataset({name: ("n_labels", values) for name, values in part.items()}))
    data = xr.concat(parts, "labelled").assign_coords(labelled=list(options), n_labels=sizes)
    n_stages = xr.DataArray([len(option) for option in options.values()], dims="labelled")
    data["label_cost"] = n_stages * data["n_labels"] * label_price
    data["pays_from"] = data["label_cost"] / (data["evsi"] / _THOUSAND)
    served = np.nan if horizon is None else horizon / _THOUSAND
    data["net"] = served * data["evsi"] - data["label_cost"]
    data.attrs |= {
        "error_price": price,
        "label_price": float(label_price),
        "horizon": np.nan if horizon is None else int(horizon),
        "error_width_now": now["error"],
        "cost_width_now": now["cost"],
        "n_simulations": int(n_simulations),
        "random_seed": seed,
        "queries": queries,
    }
    evpi = _THOUSAND * float((space.mean + space.z @ space.load).max(axis=1).mean())
    best, best_stages = _best(data, horizon)
    return LabelValue(data, evpi, best, best_stages, _describe(data, evpi, best, best_stages))


def _check(
    n_labels: Sequence[int], queries: str, label_price: float, horizon: int | None, n_simulations: int
) -> np.ndarray:
    """Sorted sample sizes (size,)."""
    sizes = np.unique(np.atleast_1d(np.asarray(n_labels)))
    if not len(sizes) or sizes.dtype.kind not in "iu" or sizes[0] < 1:
        raise bad_value("n_labels", n_labels, "give whole numbers of at least 1")
    if queries not in QUERIES:
        raise bad_value("queries", queries, "choose 'new' or 'logged'", "is not known")
    if not (np.isfinite(label_price) and label_price >= 0.0):
        raise bad_value("label_price", label_price, "give a finite number of at least 0")
    if horizon is not None and not horizon > 0:
        raise bad_value("horizon", horizon, "give the number of queries to be served")
    if n_simulations < 8:
        raise bad_value("n_simulations", n_simulations, "give a whole number of at least 8")
    return sizes


def _options(stages: str | Sequence[str], names: list[str]) -> dict[str, list[int]]:
    """Which stages are labelled, by the name of the choice."""
    every = list(range(len(names)))
    if isinstance(stages, str) and stages == "all":
        return {ALL: every}
    if isinstance(stages, str) and stages == "each":
        return {ALL: every} | {name: [j] for j, name in enumerate(names)}
    chosen = [stages] if isinstance(stages, str) else list(stages)
    unknown = [name for name in chosen if name not in names]
    if unknown or not chosen:
        raise bad_value("stages", stages, f"give 'all', 'each', or names of stages out of {names}")
    return {", ".join(name for name in names if name in chosen): [j for j in every if names[j] in chosen]}


def _decisions(fit: xr.DataTree, draws: Draws, price: float) -> Decisions:
    """What is compared: the thresholds best now, those that single draws prefer, the way between; stages alone."""
    best = to_positions(tune(fit, error_price=price, stages=draws.stages).thresholds.values, draws)
    best[-1] = 0.0
    some = draws.thin(_N_TUNED)
    own = [induce(mean_kernel(some.take(slice(i, i + 1))), np.array([price]))[0] for i in range(some.n)]
    points = [best[None], *(best + step * (np.array(own) - best) for step in _STEPS)]
    return Decisions(
        np.unique(split_at_atoms(draws, np.concatenate(points)), axis=0), list(range(len(draws.stages)))
    )


def _simulate(
    refits: Refits,
    decisions: Decisions,
    space: Space,
    price: float,
    sizes: np.ndarray,
    n_simulations: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Refits' sample sizes (refit,), widths (refit, option, error or cost), covariances (refit, option, ...)."""
    # without directions no decision can be better: labels are worth nothing, whichever draws they come from
    score = space.z[:, 0] if space.z.shape[1] else np.zeros(len(space.z))
    index, size = plan(score, n_simulations, int(sizes[0]), int(sizes[-1]), np.random.default_rng([seed, 0]))

    def one(number: int) -> list[tuple[list[float], np.ndarray]]:
        out = []
        for draws in refits.after(int(index[number]), int(size[number]), number):
            error, cost = decisions.outcomes(draws)
            widths = [_width(x[:, space.best]) for x in (error, cost)]
            out.append((widths, space.covariance(-(error * price + cost))))
        return out

    # the first compiles the model; then, as the sampler lets go of Python's lock, refits run side by side
    found = [one(0)]
    start = time.monotonic()
    found.append(one(1))  # by itself, to tell how long the others take
    spent = time.monotonic() - start
    say_if_long("The worth of labels", spent * (n_simulations - 2) / n_cores(), "A shorter log takes less.")
    found += map_blocks(one, range(2, n_simulations))
    width = np.array([[option[0] for option in refit] for refit in found])
    return size, width, np.array([[option[1] for option in refit] for refit in found])


def _worth(
    space: Space, size: np.ndarray, covariance: np.ndarray, sizes: np.ndarray, n_chains: int
) -> dict[str, np.ndarray]:
    """Worth of ``sizes`` (size,) of labels and its Monte Carlo error, of draws and of refits together."""
    learning = learn(size, covariance)
    better = np.array([gains(space, learning, m) for m in sizes])
    spread = leave_one_out(space, size, covariance, sizes)
    return {
        "evsi": _THOUSAND * better.mean(axis=1),
        "evsi_mcse": _THOUSAND * np.hypot(_mcse(better, n_chains), spread),
    }


def _width(values: np.ndarray) -> float:
    low, high = np.quantile(values, _CI)
    return float(high - low)


def _mcse(values: np.ndarray, n_chains: int) -> np.ndarray:
    """Monte Carlo error of the mean of each row (row, draw) of chains laid end to end."""
    chains = values.reshape(len(values), n_chains, -1)
    return np.array([float(array_stats.mcse(x, method="mean")) if np.ptp(x) > 0 else 0.0 for x in chains])


def _best(data: xr.Dataset, horizon: int | None) -> tuple[int | None, str | None]:
    if horizon is None:
        return None, None
    net = data["net"].values
    option, size = np.unravel_index(np.argmax(net), net.shape)
    if net[option, size] <= 0.0:
        return 0, None
    return int(data["n_labels"][size]), str(data["labelled"].values[option])


def _describe(data: xr.Dataset, evpi: float, best: int | None, best_stages: str | None) -> str:
    """Put the worth of labels into some sentences."""
    first, last = data.isel(labelled=0, n_labels=0), data.isel(labelled=0, n_labels=-1)
    few, many = int(first["n_labels"]), int(last["n_labels"])
    kind = "more" if data.attrs["queries"] == "new" else "of the logged"
    said = "" if few == many else f"; {many} are worth {float(last['evsi']):.3g} ({float(last['evsi_mcse']):.1g})"
    sentences = [
        f"{few} {kind} queries, labelled at {first['labelled'].item()}, are worth {float(first['evsi']):.3g} per "
        f"1,000 queries served (Monte Carlo error {float(first['evsi_mcse']):.1g}){said}, where an error costs "
        f"{data.attrs['error_price']:g}. Knowing everything would be worth {evpi:.3g}.",
        f"With {many} the 90% interval of the error, now {100 * data.attrs['error_width_now']:.1f} points wide, "
        f"would be {100 * float(last['error_width']):.1f} wide in expectation.",
    ]
    alone = data.isel(n_labels=-1, labelled=slice(1, None))
    if alone.sizes["labelled"]:
        at = alone.isel(labelled=int(np.argmax(alone["evsi"].values)))
        sentences.append(
            f"Of labels at a single stage those at {at['labelled'].item()} tell most: {many} are worth "
            f"{float(at['evsi']):.3g} ({float(at['evsi_mcse']):.1g})."
        )
    return " ".join([*sentences, *_advice(data, best, best_stages)])


def _advice(data: xr.Dataset, best: int | None, best_stages: str | None) -> list[str]:
    price = data.attrs["label_price"]
    if best is None:
        if not price:
            return []
        pays = data["pays_from"]
        option, size = np.unravel_index(np.argmin(pays.values), pays.shape)
        served_from = float(pays[option, size])
        if not np.isfinite(served_from):
            return [f"At {price:g} for each label none would ever pay."]
        return [
            f"At {price:g} for each label they pay once {served_from:,.0f} queries are served: then "
            f"{int(data['n_labels'][size])} queries, labelled at {data['labelled'].values[option]}, have earned "
            "their cost."
        ]
    served = f"Over {data.attrs['horizon']:,} queries"
    if not best:
        return [f"{served} none of these numbers of labels pays at {price:g} for each label."]
    at = data.sel(labelled=best_stages, n_labels=best)
    return [
        f"{served} {best} queries, labelled at {best_stages}, pay most: a net worth of {float(at['net']):.4g} "
        f"after {float(at['label_cost']):.4g} for the labels."
    ]
