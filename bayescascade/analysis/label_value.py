"""What more labels are worth: they move thresholds, and better thresholds save money on every query served.

Some posterior draws each make new labelled queries, the model is fitted again to old and new queries together, and
`evsi` turns what these refits know better into the expected value of any number of labels; `label_limit` does so
where the goal is a limit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.html import frame_of, note, wrapped
from bayescascade._common.messages import say_if_long
from bayescascade._common.parallel import map_blocks, n_cores
from bayescascade.analysis.evsi import fit_curve, plan
from bayescascade.analysis.label_limit import ByLimit, describe_limit, some_draws
from bayescascade.analysis.label_price import THOUSAND, ByPrice, describe_price
from bayescascade.analysis.refits import QUERIES, Refits
from bayescascade.cascade.discrepancy import promise_spread, read_discrepancy
from bayescascade.display.value import draw_label_limit, draw_label_value
from bayescascade.errors import CascadeError, Code, bad_value, option
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.schema import require
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.tune import tune

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        Where the goal is a limit, ``evsi`` is what keeping it is expected to cost less (NaN where nothing keeps
        it today), and there are also, each with ``..._mcse``: ``limit``, the lowest limit that can be promised at
        today's expected cost; ``lowest``, at whatever cost; ``cost`` per 1,000 queries of the cheapest thresholds
        that keep the limit, or come nearest to it; and ``p_kept``, the probability that some keep it. These are
        expected values over what the labels may show; ``limit_low`` to ``limit_high`` and the like hold 90% of it.
    evpi : float
        What it would be worth to know everything the model is unsure of, in money per 1,000 queries served; NaN
        where the goal is a limit that nothing keeps today.
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
        if "limit" in self.data:
            return draw_label_limit(ax, self.data, title=title, figsize=figsize)
        return draw_label_value(ax, self.data, self.evpi, title=title, figsize=figsize)

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.table.to_string(index=False, float_format='{:.4g}'.format)}"

    def _repr_html_(self) -> str:
        return wrapped(note(self.text), frame_of(self.table, caption="Money per 1,000 queries served", digits=4))


def label_value(
    fit: xr.DataTree,
    *,
    error_price: float | None = None,
    max_error: float | None = None,
    prob: float | None = None,
    doubt: float | None = None,
    n_labels: Sequence[int] = (25, 50, 100, 200, 400),
    stages: str | Sequence[str] = "all",
    queries: str = "new",
    label_price: float = 0.0,
    horizon: int | None = None,
    n_simulations: int = 28,
    random_seed: int | None = None,
) -> LabelValue:
    """Say what more labelled queries are worth, in money or as a lower limit, how many pay, and at which stage.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.analysis.label_value import label_value
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> worth = label_value(fit, error_price=0.02, n_labels=(25, 50), n_simulations=8, random_seed=1)
    >>> dict(worth.data["evsi"].sizes)
    {'labelled': 1, 'n_labels': 2}

    For a limit: what could be promised, and what keeping the limit would cost.

    >>> worth = label_value(fit, max_error=0.3, prob=0.9, n_labels=(200,), n_simulations=8, random_seed=1)
    >>> bool(worth.data["limit"] < 0.3)
    True

    Parameters
    ----------
    fit : xarray.DataTree
        Of one task, with one family for each link.
    error_price : float, optional
        What one wrong answer costs, in the log's currency.
    max_error, prob, doubt : float, optional
        Instead of a price: a limit of the error and the probability with which it is promised, 0.9 by default,
        with the safety margin ``doubt``, as in `tune`.
    n_labels : sequence of int
        Numbers of queries to be labelled.
    stages : str or sequence of str
        Whose answers are labelled: ``"all"`` stages'; those of some stages by name; or ``"each"``, which compares
        all stages with every stage alone.
    queries : str
        ``"new"``: queries that are not in the log yet. Every stage is run on them, so their confidences and costs
        are informative as well. ``"logged"``: queries in the log that have no labels.
    label_price : float
        What it costs to label one answer of one stage, in the log's currency.
    horizon : int, optional
        Number of queries that will be served with the thresholds. The value of labels grows with it, while their
        cost does not.
    n_simulations : int
        Refits for each choice of stages, at least 8; more make the Monte Carlo error smaller.
    random_seed : int, optional

    Returns
    -------
    LabelValue

    Raises
    ------
    CascadeError
        Without a goal or with two, for numbers out of range, unknown stages, more ``"logged"`` queries than there
        are without labels, and a fit of several tasks or of one task out of several.

    Notes
    -----
    The worth of a decision is minus the expected loss, error_price * error + cost. The decisions compared are the
    thresholds that `tune` finds, those that single draws prefer, points between the two, and every stage used
    alone. The value of labels is EVSI = E max E[worth | old and new queries] - max E[worth | old queries]. The
    cost of running the stages on new queries is not included.

    New queries are simulated from ``n_simulations`` draws. For each, the model is fitted again to old and new
    queries in a short run (2 chains of 250 draws). So time grows with the log, or with ``queries="logged"`` only
    with its labels.

    For a limit, the thresholds are points of the frontier, as in `tune`. The mean of each point's error after the
    labels is that of the draws, drawn together, and its posterior variance what the refits leave. The safety
    margin's discrepancy is learned by conjugate updates, as if the labels were all that informs it, and the labels
    may show that the model misses more than it seemed. Labels at some stages only do not change it. What labels
    teach about costs is ignored.

    References
    ----------
    Heath, Kunst, Jackson, Strong et al. (2019), doi:10.1177/0272989X19837983, moment matching across sample sizes;
    Raiffa & Schlaifer (1961), Applied Statistical Decision Theory.
    """
    require(
        fit,
        apart=", which the other tasks inform, too; fit the log of this task by itself, and ask again.",
    )
    spec = _goal(fit, error_price, max_error, prob, doubt)
    sizes = _check(n_labels, queries, label_price, horizon, n_simulations)
    draws = get_draws(fit)
    if spec.bounds:
        draws = some_draws(draws)
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
    question: ByPrice | ByLimit
    if spec.error_price is None:
        solution = tune(fit, max_error=spec.max_error, prob=spec.prob, doubt=spec.doubt)
        discrepancy = read_discrepancy(fit, spec.doubt, one_sided=True)
        question = ByLimit.from_draws(draws, spec, discrepancy, solution, seed)
    else:
        question = ByPrice.from_fit(fit, draws, spec.error_price)
    size, width, covariance = _simulate(refits, question, sizes, n_simulations, seed)

    now = dict(zip(("error", "cost"), question.widths(), strict=True))
    parts = []
    for o, chosen in enumerate(options.values()):
        part = question.worth(size, covariance[:, o], sizes, all_stages=len(chosen) == len(draws.stages))
        for i, (name, whole) in enumerate(now.items()):
            s, h = fit_curve(size, 1.0 - (width[:, o, i] / whole) ** 2) if whole > 0 else (0.0, 1.0)
            part[f"{name}_width"] = whole * np.sqrt(1.0 - s * sizes / (sizes + h))
        parts.append(xr.Dataset({name: ("n_labels", values) for name, values in part.items()}))
    data = xr.concat(parts, "labelled").assign_coords(labelled=list(options), n_labels=sizes)
    n_stages = xr.DataArray([len(option) for option in options.values()], dims="labelled")
    data["label_cost"] = n_stages * data["n_labels"] * label_price
    data["pays_from"] = data["label_cost"] / (data["evsi"].where(data["evsi"] > 0.0, 0.0) / THOUSAND)
    served = np.nan if horizon is None else horizon / THOUSAND
    data["net"] = served * data["evsi"] - data["label_cost"]
    data.attrs |= question.attrs() | {
        "label_price": float(label_price),
        "horizon": np.nan if horizon is None else int(horizon),
        "error_width_now": now["error"],
        "cost_width_now": now["cost"],
        "n_simulations": int(n_simulations),
        "random_seed": seed,
        "queries": queries,
    }
    evpi = THOUSAND * question.everything()
    best, best_stages = _best(data, horizon)
    told = describe_limit(data) if isinstance(question, ByLimit) else describe_price(data, evpi)
    return LabelValue(data, evpi, best, best_stages, " ".join([*told, *_advice(data, best, best_stages)]))


def _goal(
    fit: xr.DataTree,
    error_price: float | None,
    max_error: float | None,
    prob: float | None,
    doubt: float | None,
) -> TuningSpec:
    """The one goal that was given, checked."""
    if (error_price is None) == (max_error is None):
        raise CascadeError(
            "what labels are worth is asked for one goal, but {}; give either {}, what an error costs, or {}, the "
            "limit that is to be promised.",
            (
                Code("none came" if error_price is None else "two came"),
                option("error_price"),
                option("max_error"),
            ),
            parameter="error_price",
        )
    if max_error is None:
        for name, value in (("prob", prob), ("doubt", doubt)):
            if value is not None:
                raise CascadeError(
                    "{} goes with a limit; give {}, or leave it out.",
                    (option(name, value), option("max_error")),
                    parameter=name,
                    value=value,
                )
        return TuningSpec(error_price=error_price)
    margin = promise_spread(fit) if doubt is None else doubt
    return TuningSpec(max_error=max_error, prob=0.9 if prob is None else prob, doubt=margin)


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


def _simulate(
    refits: Refits, question: ByPrice | ByLimit, sizes: np.ndarray, n_simulations: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Refits' sample sizes (refit,), widths (refit, option, error or cost), covariances (refit, option, ...)."""
    rng = np.random.default_rng([seed, 0])
    index, size = plan(question.score, n_simulations, int(sizes[0]), int(sizes[-1]), rng)

    def one(number: int) -> list[tuple[list[float], np.ndarray]]:
        return [question.measure(after) for after in refits.after(int(index[number]), int(size[number]), number)]

    # the first compiles the model; then, as the sampler lets go of Python's lock, refits run side by side
    found = [one(0)]
    start = time.monotonic()
    found.append(one(1))  # by itself, to tell how long the others take
    spent = time.monotonic() - start
    say_if_long("The worth of labels", spent * (n_simulations - 2) / n_cores(), "A shorter log takes less.")
    found += map_blocks(one, range(2, n_simulations))
    width = np.array([[option[0] for option in refit] for refit in found])
    return size, width, np.array([[option[1] for option in refit] for refit in found])


def _best(data: xr.Dataset, horizon: int | None) -> tuple[int | None, str | None]:
    net = data["net"].values
    if not np.isfinite(net).all():  # without a horizon, or of a limit that nothing keeps today
        return None, None
    option, size = np.unravel_index(np.argmax(net), net.shape)
    if net[option, size] <= 0.0:
        return 0, None
    return int(data["n_labels"][size]), str(data["labelled"].values[option])


def _advice(data: xr.Dataset, best: int | None, best_stages: str | None) -> list[str]:
    price = data.attrs["label_price"]
    if best is None:
        if not price or not np.isfinite(data["evsi"]).all():
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
