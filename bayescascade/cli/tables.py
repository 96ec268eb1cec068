"""Results as tables of the terminal; costs are per 1,000 queries throughout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

from bayescascade.cli.terminal import CI_PROB, table
from bayescascade.errors import Face, render

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from rich.table import Table

_BAND = f"{CI_PROB:.0%} interval"
_TINY = 1e-3  # share of a loss that is shown as nothing


def _number(value: Any) -> str:
    from bayescascade.display.format import money

    return money(float(value))


def _share(value: Any) -> str:
    return f"{float(value):.1%}"


def _per_thousand(value: Any) -> str:
    from bayescascade.display.format import per_thousand

    return per_thousand(float(value))


def thresholds_table(solution: Any) -> Table:
    """What each stage accepts, in which range that does as well, and the shares of queries."""
    from bayescascade.tuning.answer import threshold_head, threshold_rows

    head = [name.capitalize() for name in threshold_head(solution)]
    head[1] = f"Accept from\n({solution.confidence_kind})"
    return table("", head, threshold_rows(solution))


def score_table(scored: xr.Dataset) -> Table:
    columns = (scored[name].values for name in ("stage", "reach", "answered"))
    rows = [(str(stage), _share(ran), _share(answered)) for stage, ran, answered in zip(*columns, strict=True)]
    return table("", ("Stage", "Called", "Answers"), rows)


def comparison_table(comparison: xr.Dataset) -> Table:
    """Families of each link, the best first."""
    rows = []
    for link in comparison["link"].values:
        at = comparison.sel(link=link)
        for i in at["elpd"].values.argsort()[::-1]:
            found = at.isel(family=int(i))
            numbers = (f"{float(found[name]):.1f}" for name in ("elpd", "elpd_diff", "dse"))
            rows.append((str(link), str(found["family"].item()), *numbers))
    title = "Families, by expected log predictive density"
    return table(title, ("Link", "Family", "elpd", "elpd_diff", "dse"), rows, (0, 1))


def against_table(found: pd.DataFrame, reference: str) -> Table:
    """Areas of methods beside a reference's, as `Comparison.table` gives them; without empty columns."""
    rows = []
    for (n, method), row in found.iterrows():
        gap = "" if isnan(row["difference"]) else f"{row['difference']:+.1f}%"
        band = gap and f"{row['low']:+.1f} to {row['high']:+.1f}%"
        numbers = [f"{row[name]:{form}}" for name, form in (("auc", ".4f"), ("regret", ".4f"), ("p_value", ".2g"))]
        auc, regret, p_value = ("" if text == "nan" else text for text in numbers)
        rows.append((str(method), str(n), auc, gap, band, regret, p_value, f"{row['seconds']:.0f}"))
    columns = ("Method", "n", "Area", "Differs", _BAND, "To oracle", "p", "s")
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    title = f"Area under error against cost, beside {reference} (lower is better)"
    return table(title, [columns[i] for i in kept], [[row[i] for i in kept] for row in rows])


def frame_table(found: pd.DataFrame) -> Table:
    """A data frame of texts and numbers as it stands; its first column may be broken."""
    return table(
        "", list(map(str, found.columns)), (tuple(map(str, row)) for row in found.itertuples(index=False))
    )


def tenants_table(found: pd.DataFrame, numbers: tuple[str, ...]) -> Table:
    """Tenants by row; columns of ``numbers`` to three digits, empty where they are not known."""
    rows = [
        tuple(
            ("" if isnan(value) else _number(value)) if name in numbers else str(value)
            for name, value in zip(found.columns, row, strict=True)
        )
        for row in found.itertuples(index=False)
    ]
    return table("", [str(name).replace("_", " ").capitalize() for name in found.columns], rows)


def diff_tables(found: Any) -> list[Table]:
    """Thresholds and amounts of two policies side by side."""
    from bayescascade._common.digits import show_apart, show_reject, show_threshold
    from bayescascade.display.format import chance

    rejects = "old_reject" in found.thresholds
    pairs = [("old", "new", show_threshold), *([("old_reject", "new_reject", show_reject)] if rejects else [])]
    rows = [
        (str(stage), *(text for old, new, show in pairs for text in show_apart(row[old], row[new], show)))
        for stage, row in found.thresholds.iterrows()
    ]
    columns = ("Accept from", "Old", "New", *(("Old, abstain\nbelow", "New, abstain\nbelow") if rejects else ()))
    amounts = []
    for name, row in found.change.iterrows():
        show = {"cost": _per_thousand, "latency": _number}.get(str(name), _share)
        band = "" if row.isna()["low"] else f"{show(row['low'])} to {show(row['high'])}"
        lower = "" if row.isna()["p_lower"] else chance(row["p_lower"])
        values = ("" if row[c] != row[c] else show(row[c]) for c in ("old", "new", "change"))
        amounts.append((_per(str(name)), *values, band, lower))
    return [
        table("", columns, rows),
        table("", ("Expected", "Old", "New", "Change", _BAND, "P(lower)"), amounts),
    ]


def _per(name: str) -> str:
    """An amount with its unit."""
    return {"cost": "cost per 1,000", "latency": "latency per query"}.get(name, name)


def checks_table(checks: Iterable[Any], face: Face) -> Table:
    """Failed checks first, then those that tell nothing."""
    order = {False: 0, None: 1, True: 2}
    styles = {True: "green", False: "bold red", None: "yellow"}
    words = {True: "passed", False: "FAILED", None: "skipped"}
    made = table("", ("Check", "Result", "What was found"), [], (0, 1, 2))
    from rich.text import Text

    for check in sorted(checks, key=lambda check: order[check.passed]):
        result = Text(words[check.passed], style=styles[check.passed], no_wrap=True)
        made.add_row(Text(check.name, no_wrap=True), result, render(check.text, face))
    return made


def verdict_table(found: pd.DataFrame) -> Table:
    """The cascade and its rivals, per 1,000 queries."""
    from bayescascade.display.format import chance

    rows: list[tuple[str, ...]] = []
    limited = "kept" in found
    for row in found.itertuples():
        cascade = row.kind == "cascade"
        band = "" if cascade else f"{_number(row.saving_low)} to {_number(row.saving_high)}"
        saves = ("", "", "") if cascade else (_number(row.saving), band, chance(row.p_beats))
        rows.append((row.rival, _number(row.loss), *saves, *([chance(row.kept)] if limited else [])))
    columns = ["Per 1,000 queries", "Loss", "Cascade\nsaves", _BAND, "P(saves)"]
    return table("", [*columns, *(["Keeps\nlimit"] if limited else [])], rows)


def labels_table(found: pd.DataFrame) -> Table:
    """The worth of more labels, by which stages are labelled and how many queries."""
    if "limit" in found:
        return _promises_table(found)
    rows = []
    for row in found.itertuples():
        worth = f"{_number(row.evsi)} ± {_number(row.evsi_mcse)}"
        widths = f"{100 * row.error_width:.1f} points", _per_thousand(row.cost_width)
        rows.append((str(row.labelled), str(row.n_labels), worth, _number(row.label_cost), *widths))
    columns = (
        "Labelled",
        "Queries",
        "Worth per\n1,000 served",
        "Labels\ncost",
        "Error\ninterval",
        "Cost\ninterval",
    )
    return table(f"More labels (widths of {CI_PROB:.0%} intervals; cost per 1,000 queries)", columns, rows)


def _promises_table(found: pd.DataFrame) -> Table:
    """What could be promised with more labels, by which stages are labelled and how many queries."""
    from bayescascade.display.format import chance

    rows = []
    for row in found.itertuples():
        limits = (f"{_share(row.limit)} ± {100 * row.limit_mcse:.1g}", _share(row.lowest))
        cost = f"{_number(row.cost)} ± {_number(row.cost_mcse)}"
        rows.append(
            (str(row.labelled), str(row.n_labels), *limits, cost, chance(row.p_kept), _number(row.label_cost))
        )
    columns = (
        "Labelled",
        "Queries",
        "Limit at\ntoday's cost",
        "Lowest\nlimit",
        "Cost of\nyour limit",
        "P(kept)",
        "Labels\ncost",
    )
    return table("More labels: what to expect (cost per 1,000 queries)", columns, rows)


def sensitivity_table(found: pd.DataFrame) -> Table:
    """What becomes of thresholds that are kept, and of new ones, when something changes."""
    from bayescascade.display.format import chance
    from bayescascade.display.value import label

    rows, promised = [], "kept" in found and found["kept"].notna().any()
    for (change, of, by), row in found.iterrows():
        name = label(change, of, by) if change != "as tuned" else change
        shown = [
            "" if isnan(row[key]) else (_share if key.endswith("error") else _per_thousand)(row[key])
            for key in ("error", "cost", "new_error", "new_cost")
        ]
        gap = 1000.0 * row["lost"]
        lost = "" if isnan(gap) else "0" if gap < _TINY * abs(1000.0 * row["new_cost"]) else _number(gap)
        rows.append((str(name), *shown[:2], *([chance(row["kept"])] if promised else []), *shown[2:], lost))
    kept = ["Promise\nholds"] if promised else []
    columns = ["Change", "Error", "Cost", *kept, "Error,\nretuned", "Cost,\nretuned", "Lost by\nkeeping"]
    return table("Thresholds kept, and tuned again (costs per 1,000 queries)", columns, rows)


def update_text(attrs: Mapping[Any, Any]) -> str:
    """What an update did."""
    why = "thinned log" if float(attrs.get("old_share", 1.0)) == 1.0 else "a share of the earlier ones was kept"
    k = f"Pareto k-hat {float(attrs['update_k']):.2f}" if "update_k" in attrs else why
    if attrs["update"] == "reweighted":
        share = float(attrs["update_share"])
        did = f"the earlier draws were reweighted ({k}; {share:.0%} of them count)"
    else:
        did = f"all queries were sampled again ({k})"
    new, labelled = int(attrs["update_new"]), int(attrs["update_labelled"])
    return (
        f"Updated with {new} new queries, {labelled if labelled < new else 'all'} of them labelled, beside "
        f"{int(attrs['update_old'])} earlier ones: {did}."
    )
