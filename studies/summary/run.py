"""Draw the four figures that sum up the evidence, and write their page.

Run from the project's root: ``python -m studies.summary.run``. Nothing is measured here: the numbers are read from the
tables of the pages behind it (promises, bands, rivals), so run it again when one of these has changed. Writes
``docs/evidence/summary.md`` and the figures in ``docs/_static/evidence``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bayescascade.cascade.discrepancy import PROMISE_SPREADS
from bayescascade.display.style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, tidy
from studies.common.command import PAGES, ROOT, parse
from studies.summary.tables import first, numbers, table

PROBS, COUNTS = (0.8, 0.9, 0.95), (50, 100, 200)
OURS = f"pick, doubt {PROMISE_SPREADS[True]:g}"  # the default safety margin
# (name in the table, name in the figure, colour, marker, dashes); ours first
KEEPERS = (
    (OURS, "bayescascade", BLUE, "o", "-"),
    ("LTT, common threshold", "learn-then-test, one threshold", ORANGE, "s", "--"),
    ("LTT, learnt path, 30%", "learn-then-test, learnt path", GREEN, "^", "-."),
    ("pick, doubt 0", "bayescascade without safety margin", PURPLE, "v", ":"),
    ("plug-in, labelled rows", "best on the labelled queries", VERMILION, "D", ":"),
)
AREAS = (
    ("bayes_subsets", "bayescascade, may drop stages", BLUE, "o", "-"),
    ("bayes", "bayescascade, all stages", BLUE, "o", "--"),
    ("best_pair", "best pair", ORANGE, "s", "-"),
    ("markov_copula_mle", "Zellinger & Thomson", GREEN, "^", "-."),
    ("ascent_calibrated", "calibrated ascent", PURPLE, "v", ":"),
    ("grid_search", "grid search", VERMILION, "D", ":"),
    ("learn_then_test", "learn-then-test", GREY, "P", ":"),
)


def promises() -> pd.DataFrame:
    """Promises asked and kept, in per cent, and their cost, by method, n and probability."""
    parts = []
    for prob in PROBS:
        told = table(PAGES / "promises.md", f"prob = {prob:g}")
        missing = {method for method, *_ in KEEPERS} - set(told["method"])
        if missing:
            raise ValueError(
                f"promises.md has no rows of {sorted(missing)} at prob = {prob:g}; rename them in KEEPERS"
            )
        kept = told["kept, of those made"].map(numbers)
        parts.append(
            pd.DataFrame(
                {
                    "method": told["method"],
                    "n": told["n"].map(first).astype(int),
                    "asked": 100 * prob,
                    "made": told["promises made"].map(first),
                    "kept": kept.str[0],
                    "low": kept.str[1],
                    "high": kept.str[2],
                    "cost": told["cost / oracle's"].map(first),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def bands() -> pd.DataFrame:
    """Coverage of 90% bands in per cent, with one standard error, by number of stages and labels."""
    told = table(PAGES / "bands.md", "Coverage by k and n")
    error = told["error covered"].map(numbers)
    return pd.DataFrame(
        {
            "k": told["k"].map(first).astype(int),
            "n": told["n"].map(first).astype(int),
            "error": error.str[0],
            "se": error.str[1],
            "cost": told["cost covered"].map(first),
        }
    )


def areas() -> pd.DataFrame:
    """Area under error against cost beside that of `bayes`, in per cent, by method and number of labels."""
    told = table(PAGES / "rivals.md", "All cascades").set_index("method")
    # the number itself, then the difference in per cent and its interval
    rows = {
        method: {
            n: 0.0 if method == "bayes" else (numbers(cell) + [float("nan")] * 2)[1]
            for n, cell in told.loc[method, ["n = 30", "n = 100", "n = all"]].items()
        }
        for method, *_ in AREAS
    }
    return pd.DataFrame(rows).T


def draw_promises(figure: Any, told: pd.DataFrame) -> None:
    """Asked against kept, one panel for each number of labels."""
    for n, ax in zip(COUNTS, figure.subplots(1, 3, sharey=True), strict=True):
        ax.plot([76, 99], [76, 99], color=GREY, lw=1, zorder=0)
        for method, name, colour, marker, dashes in KEEPERS:
            rows = told[(told["method"] == method) & (told["n"] == n)]
            ax.plot(rows["asked"], rows["kept"], dashes, color=colour, marker=marker, label=name, ms=5)
            if method == OURS:
                bars = [rows["kept"] - rows["low"], rows["high"] - rows["kept"]]
                ax.errorbar(rows["asked"], rows["kept"], bars, color=colour, fmt="none", capsize=2)
        ax.set(title=f"{n} labelled queries", xlabel="asked [%]", xticks=[80, 90, 95], ylim=(25, 102))
        tidy(ax)
    figure.axes[0].set_ylabel("promises kept [%]")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


def draw_bands(figure: Any, told: pd.DataFrame) -> None:
    """Coverage of error and cost against the number of labels, one line for each number of stages."""
    looks = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", "-."), (PURPLE, "v", ":"))
    for what, ax in zip(("error", "cost"), figure.subplots(1, 2, sharey=True), strict=True):
        ax.axhline(90, color=GREY, lw=1)
        for (k, rows), (colour, marker, dashes) in zip(told.groupby("k"), looks, strict=False):
            ax.plot(rows["n"], rows[what], dashes, color=colour, marker=marker, label=f"{k} stages")
            if what == "error":
                ax.errorbar(rows["n"], rows["error"], rows["se"], color=colour, fmt="none", capsize=2)
        ax.set_xscale("log")
        ax.set_xticks(sorted(told["n"].unique()), [str(n) for n in sorted(told["n"].unique())])
        ax.minorticks_off()
        ax.set(title=f"90% bands of the {what}", xlabel="labelled queries", ylim=(60, 100))
        tidy(ax)
    figure.axes[0].set_ylabel("held-out value inside [%]")
    figure.axes[1].legend(frameon=False, loc="lower left")


def draw_areas(figure: Any, told: pd.DataFrame) -> None:
    """Area beside that of the full cascade against the number of labels."""
    ax = figure.subplots()
    for method, name, colour, marker, dashes in AREAS:
        ax.plot(range(3), told.loc[method], dashes, color=colour, marker=marker, label=name)
    ax.set_xticks(range(3), ["30", "100", "all"])
    ax.set(xlabel="labelled queries", ylabel="area under error against cost,\nbeside the full cascade [%]")
    ax.set_title("Whose cascade is better? Lower is better")
    figure.legend(loc="outside right center", frameon=False)
    tidy(ax)


def draw_certainty(figure: Any, told: pd.DataFrame) -> None:
    """What promises cost, beside thresholds that knew the future, against the probability asked for."""
    left, right = figure.subplots(1, 2)
    for n, marker, dashes in zip(COUNTS, "os^", ("-", "--", "-."), strict=True):
        rows = told[(told["method"] == OURS) & (told["n"] == n)]
        other = told[(told["method"] == "LTT, common threshold") & (told["n"] == n)]
        left.plot(
            rows["asked"], rows["cost"], dashes, color=BLUE, marker=marker, label=f"bayescascade, {n} labels"
        )
        left.plot(
            other["asked"],
            other["cost"],
            dashes,
            color=ORANGE,
            marker=marker,
            mfc="white",
            label=f"learn-then-test, {n}",
        )
        right.plot(rows["asked"], rows["made"], dashes, color=BLUE, marker=marker)
        right.plot(other["asked"], other["made"], dashes, color=ORANGE, marker=marker, mfc="white")
    for ax, title, label in (
        (left, "What a promise costs", "cost / cost of the best thresholds in hindsight"),
        (right, "How often one can be made", "promises made [%]"),
    ):
        ax.set(title=title, xlabel="probability asked [%]", ylabel=label, xticks=[80, 90, 95])
        tidy(ax)
    right.set_ylim(0, 100)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


def page() -> str:
    """The page's Markdown, with the numbers of today's tables."""
    told, cover, area = promises(), bands(), areas()
    ours = told[(told["method"] == OURS) & (told["asked"] == 90)].set_index("n")
    plain = told[(told["method"] == "plug-in, labelled rows") & (told["asked"] == 90)].set_index("n")
    rival = told[(told["method"] == "LTT, common threshold") & (told["asked"] == 90)].set_index("n")
    learnt = told[(told["method"] == "LTT, learnt path, 30%") & (told["asked"] == 90)].set_index("n")
    low = told[(told["method"] == OURS) & (told["asked"] == 80)].set_index("n")["kept"][COUNTS[0]]
    best = area["n = 30"].idxmin()
    names = {method: name for method, name, *_ in AREAS}
    return f"""# Evidence in four figures

All of it was measured on published logs of real language models, which the package does not hold. The queries are split many times. A method learns from one part, and the
other part shows what came of it.

## Are promises kept?

You ask for "at most this many errors, with 90% probability". Not every limit can be promised. Of the promises that were made, these shares were kept:

| labelled queries | limits that could be promised | of these kept | kept by thresholds that merely look best on the labelled queries |
|---|---|---|---|
{_rows(ours["made"], ours["kept"], plain["kept"])}

Asked for 80% with {COUNTS[0]} labels, {low:.0f}% were kept. The size of the safety margin was chosen on these logs.

```{{figure}} ../_static/evidence/promises.png
:alt: Three panels for 50, 100 and 200 labelled queries: promises kept against promises asked. bayescascade and learn-then-test lie near the diagonal; picking what looks best lies far below it.

Promises kept against asked. On the grey line a method keeps what it says. Bars: 90% intervals.
```

Details, also by log, where it is uneven: {{doc}}`promises`.

## Do the bands hold?

Along the frontier each error has a 90% band. It should hold the held-out error nine times out of ten. By number of stages and labels, bands of the error held {cover["error"].min():.0f} to
{cover["error"].max():.0f}%, and bands of the cost {cover["cost"].min():.0f} to {cover["cost"].max():.0f}%. Single logs are further off.

```{{figure}} ../_static/evidence/bands.png
:alt: Coverage of 90% bands for error and cost against the number of labelled queries, one line for two, three and four stages, with a line at 90%.

Share of held-out values inside the 90% band. Bars: one standard error.
```

Details, causes, and what mends it: {{doc}}`bands`.

## How does it compare with other methods?

The area under error against cost is a cascade's whole frontier in one number. With 30 labels the lowest is that of "{names[best]}": {area.loc[best, "n = 30"]:+.1f}% beside the full cascade. Dropping stages helps more than any choice of
thresholds does, and simply picking the best pair does as well as our search. Where labels are few, methods without a model of the log lose most.

```{{figure}} ../_static/evidence/area.png
:alt: Area under error against cost beside that of the full cascade, for 30, 100 and all labels. Methods that may drop stages are lowest; grid search and learn-then-test are highest with few labels.

Area beside that of bayescascade with all stages; lower is better. "All" includes two logs that are too small for the others.
```

Details, by benchmark and number of stages: {{doc}}`rivals`. Under a budget, with routers that read the query: {{doc}}`budget`.

## What does certainty cost?

To be 90% sure costs more than the cheapest thresholds do that keep the limit on the held-out queries. This many times as much:

| | {COUNTS[0]} labels | {COUNTS[2]} labels |
|---|---|---|
| bayescascade | {ours["cost"][COUNTS[0]]:.2f} | {ours["cost"][COUNTS[2]]:.2f} |
| learn-then-test, one threshold for all stages | {rival["cost"][COUNTS[0]]:.2f} | {rival["cost"][COUNTS[2]]:.2f} |
| learn-then-test, learnt path | {learnt["cost"][COUNTS[0]]:.2f} | {learnt["cost"][COUNTS[2]]:.2f} |

The guarantee of learn-then-test holds for any log. Part of the limits cannot be promised at all, and both methods say so.

```{{figure}} ../_static/evidence/certainty.png
:alt: Left: cost of promises relative to the best thresholds in hindsight, rising with the probability asked and falling with labels, lower for bayescascade than for learn-then-test. Right: share of promises that can be made.

Left: the cost of kept and broken promises together, beside the cheapest thresholds that keep the limit on the held-out queries. Right: the share of limits that could be promised.
```

Made by `python -m studies.summary.run` from the tables of the pages above.
"""


def _rows(*columns: pd.Series) -> str:
    """Rows of a table: for each number of labels, shares in per cent."""
    return "\n".join(f"| {n} | " + " | ".join(f"{column[n]:.0f}%" for column in columns) + " |" for n in COUNTS)


FIGURES: dict[str, tuple[tuple[float, float], Callable[[Any, pd.DataFrame], None], Callable[[], pd.DataFrame]]] = {
    "promises": ((9.0, 4.0), draw_promises, promises),
    "bands": ((7.5, 3.4), draw_bands, bands),
    "area": ((7.5, 3.8), draw_areas, areas),
    "certainty": ((8.0, 4.2), draw_certainty, promises),
}


def main(argv: Sequence[str] | None = None) -> None:
    import matplotlib.pyplot as plt

    run = parse("summary", __doc__, argv)
    folder = run.build / "evidence" if run.quick else ROOT / "docs" / "_static" / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (size, draw, read) in FIGURES.items():
        figure = plt.figure(figsize=size, layout="constrained")
        draw(figure, read())
        figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})
        plt.close(figure)
    run.write(page())


if __name__ == "__main__":
    main()
