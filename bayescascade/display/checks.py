"""What a check looked at, drawn: ArviZ's own plots where it has them. Each takes Axes or makes them (panel,)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from arviz_plots import PlotCollection
from arviz_stats import ess, rhat

from bayescascade.display.format import LEVEL
from bayescascade.display.model import draw_pair
from bayescascade.display.style import (
    BLUE,
    GREEN,
    GREY,
    VERMILION,
    bare,
    is_narrow,
    money_axis,
    panels,
    percent_axis,
    tidy,
)

if TYPE_CHECKING:
    from bayescascade.checks.calibration import LabelReplicates
    from bayescascade.checks.dependence import PairView
    from bayescascade.checks.signals import StagePit

COST = "cost of 1,000 queries"  # a quantity of the check of a cascade
_WORST = 4  # quantities whose ranks are shown
_NAME = 24


def convergence(posterior: xr.Dataset, axes: Any) -> np.ndarray:
    """ArviZ's forest of tau, intercept and slope, and rank plots of those that mix worst, with a 99% band."""
    quantities = _quantities(posterior)
    names = [str(name) for name in quantities]
    mixing = rhat(quantities)
    worst = sorted(names, key=lambda name: -np.nan_to_num(float(mixing[name])))[:_WORST]
    grid = _forest_and_ranks(len(names), len(worst)) if axes is None else panels(axes, ["", "", *worst])
    tree = xr.DataTree.from_dict({"posterior": quantities})
    places = xr.DataArray(grid[:2], dims="column", coords={"column": ["labels", "forest"]})
    y = np.arange(len(names))[::-1]
    # `overlay` is how ArviZ keeps a panel's visuals apart
    both = quantities.expand_dims(column=places["column"])
    collection = _collection(both, places, aes={"y": ["__variable__"], "overlay": ["__variable__"]}, y=y)
    az.plot_forest(tree, combined=True, ci_probs=(0.5, 0.9), plot_collection=collection, labels=["__variable__"])
    grid[0].set_xticks([])
    grid[1].set_title("50% and 90% intervals", fontsize="medium")
    collection = _collection(
        quantities[worst], dict(zip(worst, grid[2:], strict=True)), aes={"color": ["chain"], "overlay": ["chain"]}
    )
    # a test of each panel alone would find fault with one of the worst of many that are all sound
    options: dict[str, Any] = {"method": "envelope", "thin": False, "visuals": {"credible_interval": False}}
    az.plot_rank(tree, var_names=worst, plot_collection=collection, **options)
    for ax, name in zip(grid[2:], worst, strict=True):
        _rank_band(ax, quantities[name], len(names))
    _small(grid[2:])
    for ax in grid[2:]:
        ax.title.set_fontsize("small")
    return grid


def _rank_band(ax: Any, draws: xr.DataArray, n: int) -> None:
    """Where the ranks of chains that agree stay, over all chains of all ``n`` quantities together.

    The Dvoretzky-Kiefer-Wolfowitz inequality, for as many independent draws as the worst chain is worth by itself.
    """
    chains = draws.sizes["chain"]
    alone = [ess(draws.isel(chain=[i]).to_dataset(name="x"))["x"] for i in range(chains)]
    half = np.sqrt(np.log(2.0 * n * chains / LEVEL) / (2.0 * float(min(alone))))
    ax.axhspan(-half, half, color=GREY, alpha=0.2, lw=0, zorder=0)
    top = 1.1 * max(half, *(np.abs(line.get_ydata()).max() for line in ax.lines))
    ax.set_ylim(-top, top)


def _quantities(posterior: xr.Dataset) -> xr.Dataset:
    """Tau, intercept and slope as variables of their own (chain, draw), with names that fit on a plot."""
    out, stages = {}, [str(stage) for stage in posterior["stage"].values]
    for name in ("tau", "intercept", "slope"):
        dim = "link" if name == "tau" else "stage"
        for i, part in enumerate(posterior[dim].values):
            parts = str(part).split(" > ")
            label = _variable(f"{name} {' > '.join(bare(p, _NAME // len(parts), stages) for p in parts)}")
            label = label if label not in out else f"{label} ({i})"
            out[label] = posterior[name].isel({dim: i}, drop=True)
    return xr.Dataset(out)


def _variable(name: str) -> str:
    """A name that a variable of a tree may have: a slash would be a path."""
    return name.replace("/", "\N{DIVISION SLASH}")


def _collection(data: xr.Dataset, places: Any, **kwargs: Any) -> Any:
    """ArviZ's plot collection on existing Axes: one for each variable, or an array of them."""
    if isinstance(places, dict):
        some = next(iter(places.values()))
        group = {"plot": xr.Dataset({name: ((), _boxed(ax)) for name, ax in places.items()})}
        root = xr.Dataset({"figure": ((), _boxed(some.figure))})
    else:
        group = {}
        root = xr.Dataset({"figure": ((), _boxed(places.values[0].figure)), "plot": places})
    viz = xr.DataTree.from_dict({"/": root, **group})
    return PlotCollection(data, viz, backend="matplotlib", **kwargs)


def _boxed(thing: Any) -> np.ndarray:
    box = np.empty((), dtype=object)
    box[()] = thing
    return box


def _forest_and_ranks(n: int, n_ranks: int) -> np.ndarray:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10.5, max(4.2, 0.34 * n)), layout="constrained")
    spec = figure.add_gridspec(2, 4, width_ratios=[1.0, 1.4, 1.6, 1.6])
    forest = figure.add_subplot(spec[:, 1])
    left = figure.add_subplot(spec[:, 0], sharey=forest)
    ranks = [figure.add_subplot(spec[i // 2, 2 + i % 2]) for i in range(n_ranks)]
    return np.array([left, forest, *ranks], dtype=object)


def _small(grid: np.ndarray) -> None:
    """The size of our own panels, where ArviZ's letters are made for a page."""
    for ax in grid:
        ax.title.set_fontsize("medium")
        ax.xaxis.label.set_fontsize("medium")
        ax.yaxis.label.set_fontsize("medium")
        ax.tick_params(labelsize="small")
        for text in ax.texts:
            text.set_fontsize("small")


def margins(pits: list[StagePit], axes: Any) -> np.ndarray:
    """ArviZ's PIT-ECDF of each stage's signals, less the diagonal."""
    stages = [pit.stage for pit in pits]
    grid = panels(axes, stages)
    for ax, (stage, values, given) in zip(grid, pits, strict=True):
        title = bare(stage, among=stages)
        if len(values) > 1:
            values = np.clip(values, 1e-9, 1.0 - 1e-9)
            name = _variable(title)
            pit = xr.Dataset({name: (("chain", "draw"), values[None])})
            tree = xr.DataTree.from_dict({"prior_sbc": pit})
            az.plot_ecdf_pit(
                tree, envelope_prob=1.0 - LEVEL / len(pits), plot_collection=_collection(pit, {name: ax})
            )
        ax.set_title(title)
        ax.set(xlabel="rank by the model" + (f", given {bare(given, 16, stages)}" if given else ""))
        ax.set_ylabel("observed − fitted share")
    _small(grid)
    return grid


def calibration(labels: list[LabelReplicates], axes: Any) -> np.ndarray:
    """ArviZ's reliability curve by isotonic regression (PAVA), from predictive draws of the labels."""
    stages = [label.stage for label in labels]
    grid = panels(axes, stages)
    for ax, (stage, observed, replicated) in zip(grid, labels, strict=True):
        title = bare(stage, among=stages)
        ax.set_title(f"{title} ({len(observed)} labels)")
        if len(observed) < 2:
            continue
        name, new = _variable(title), replicated.astype(int)  # probabilities would make the band too narrow
        tree = xr.DataTree.from_dict(
            {
                "posterior_predictive": xr.Dataset({name: (("chain", "draw", "label"), new[None])}),
                "observed_data": xr.Dataset({name: ("label", observed.astype(int))}),
            }
        )
        places = {name: ax}
        az.plot_ppc_pava(
            tree, ci_prob=0.99, plot_collection=_collection(tree["observed_data"].to_dataset(), places)
        )
        ax.set_title(f"{title} ({len(observed)} labels)")
        ax.set(xlabel="predicted P(correct)", ylabel="share right", xlim=(0, 1), ylim=(-0.02, 1.02))
        percent_axis(ax.xaxis)
        percent_axis(ax.yaxis)
    _small(grid)
    return grid


def dependence(shown: list[PairView], table: pd.DataFrame, axes: Any) -> np.ndarray:
    """Each pair of stages, F of one against F of the other, with the tenths at the corners."""
    names = [" > ".join(pair.stages) for pair in shown]
    stages = list(dict.fromkeys(stage for pair in shown for stage in pair.stages))
    grid = panels(axes, names, size=(3.3, 3.5))
    for ax, pair, name in zip(grid, shown, names, strict=True):
        draw_pair(ax, pair, 0.9, stages)
        for tail, corner in (("lower", 0.0), ("upper", 0.9)):
            ax.add_patch(_box(corner))
            if (name, f"{tail} tail") in table.index:
                row = table.loc[(name, f"{tail} tail")]
                text = f"{row['observed']:.1%}\nmodel {row['replicated_low']:.1%} to {row['replicated_high']:.1%}"
                x, y, side, rise = (
                    (0.99, 0.01, "right", "bottom") if tail == "lower" else (0.01, 0.99, "left", "top")
                )
                ax.text(x, y, f"{tail} tail {text}", ha=side, va=rise, fontsize="x-small")
        said = []
        for statistic in ("tau", "family"):
            if (name, statistic) in table.index:
                row = table.loc[(name, statistic)]
                what = "τ" if statistic == "tau" else f"for {row['rival']}"
                ends = f"model {row['replicated_low']:.2g} to {row['replicated_high']:.2g}"
                said.append(f"{what} {row['observed']:.2g} ({ends})")
        ax.set_title("\n".join(said), fontsize="small")
    return grid


def _box(corner: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((corner, corner), 0.1, 0.1, fill=False, color=VERMILION, lw=1.2)


def own_signal(table: pd.DataFrame, axes: Any) -> np.ndarray:
    """Score of the earlier signal at each stage, beside what replicates show."""
    (ax,) = panels(axes, ["score"], size=(6.0, 1.3 + 0.42 * len(table)))
    place = np.arange(len(table))[::-1]
    letters = _NAME // 2 if is_narrow(ax) else _NAME
    stages = list(dict.fromkeys(name for pair in table.index for name in pair))
    short = {stage: bare(stage, letters, stages) for stage in stages}
    names = [f"{short[stage]}\nbeyond {short[what]}" for stage, what in table.index]
    _ranges(ax, place, table["replicated_low"], table["replicated_high"], "simulations, 99%")
    ax.plot(table["observed"], place, "D", color=VERMILION, ms=6, label="observed")
    ax.axvline(0.0, color=GREY, lw=0.8)
    ax.set_yticks(place, names, fontsize="small")
    ax.set(ylim=(-0.6, len(table) - 0.4), xlabel="test statistic (z)")
    _legend_below(ax)
    tidy(ax)
    return np.array([ax], dtype=object)


def _ranges(ax: Any, place: np.ndarray, low: pd.Series, high: pd.Series, label: str) -> None:
    ax.hlines(place, low, high, color=BLUE, lw=7, alpha=0.3, label=label)


def _legend_below(ax: Any) -> None:
    ax.legend(
        frameon=False,
        fontsize="small",
        ncols=1 if is_narrow(ax) else 3,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
    )


def sensitivity(table: pd.DataFrame, limit: float, axes: Any) -> np.ndarray:
    """Sensitivity to prior and to likelihood of each quantity, with the limit above which it counts."""
    (ax,) = panels(axes, ["sensitivity"], size=(6.5, 1.2 + 0.3 * len(table)))
    place = np.arange(len(table))[::-1]
    ax.hlines(place, 0.0, table[["prior", "likelihood"]].max(axis=1), color=GREY, lw=0.6)
    for name, colour, marker in (("prior", VERMILION, "D"), ("likelihood", BLUE, "o")):
        ax.plot(table[name], place, marker, color=colour, ms=6, label=name)
    ax.axvline(limit, color=GREY, lw=1.0, ls="--", label=f"{limit:g}")
    # one of the whole log has no part
    split = [quantity.removesuffix("]").partition("[")[::2] for quantity in table.index.astype(str)]
    of = [part.split(" > ") for _, part in split]
    stages = list(dict.fromkeys(stage for parts in of for stage in parts if stage))
    names = [
        f"{name} {' > '.join(bare(stage, 30 // len(parts), stages) for stage in parts if stage)}".rstrip()
        for (name, _), parts in zip(split, of, strict=True)
    ]
    ax.set_yticks(place, names, fontsize="small")
    for y, (_, row) in zip(place, table.iterrows(), strict=True):
        if row["diagnosis"]:
            end = max(row["prior"], row["likelihood"])
            ax.annotate(row["diagnosis"], (end, y), (8, -3), textcoords="offset points", fontsize="x-small")
    ax.set_xlim(0.0, 1.35 * max(table[["prior", "likelihood"]].max().max(), 2 * limit))
    ax.set_xlabel("sensitivity to the power of ...")
    _legend_below(ax)
    tidy(ax)
    return np.array([ax], dtype=object)


def loo(of_factor: dict[str, Any], axes: Any) -> np.ndarray:
    """ArviZ's Pareto k of each query, for each part of the likelihood."""
    grid = panels(axes, list(of_factor), size=(4.2, 3.2))
    for ax, (name, found) in zip(grid, of_factor.items(), strict=True):
        data = found.pareto_k.to_dataset(name="pareto_k")
        az.plot_khat(found, plot_collection=_collection(data, {"pareto_k": ax}))
        ax.set_title({"signal": "signals", "correct": "labels", "joint": "signals and labels"}[name])
        ax.set_xlabel("query")
        limit = float(found.good_k)
        ax.axhline(limit, color=VERMILION, lw=1.2, ls="--", label=f"limit, {limit:.2g}")
        ax.set_ylim(top=max(ax.get_ylim()[1], 1.08 * limit))
        ax.legend(frameon=False, fontsize="small", loc="upper right")
    _small(grid)
    return grid


def cascade(table: pd.DataFrame, axes: Any) -> np.ndarray:
    """Error and cost of each threshold vector: predictive interval, and what the log shows, by rising cost."""
    grid = panels(axes, ["error", COST], size=(4.0, 2.8))
    place = table.xs(COST, level="quantity")["predicted"]
    for ax, name in zip(grid, ("error", COST), strict=True):
        part = table.xs(name, level="quantity")
        inside = part["inside"].astype(bool)
        ax.vlines(place, part["predicted_low"], part["predicted_high"], color=BLUE, lw=7, alpha=0.3)
        ax.plot(place, part["predicted"], "_", color=BLUE, ms=12, label="model, 99% interval")
        ax.plot(place[inside], part["observed"][inside], "o", color=GREEN, ms=5, label="log, inside")
        if not inside.all():
            ax.plot(place[~inside], part["observed"][~inside], "D", color=VERMILION, ms=6, label="log, outside")
        money_axis(ax, float(place.min()), float(place.max()))
        ax.set(xlabel="expected cost of 1,000 queries", ylabel=name)
        tidy(ax)
    percent_axis(grid[0].yaxis)
    grid[0].legend(frameon=False, fontsize="x-small")
    return grid
