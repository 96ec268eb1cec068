"""What `compare` found: areas of every method on every run, with paired intervals, tests and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import norm, wilcoxon

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.html import frame_of, note, wrapped
from bayescascade._common.validation import check_prob
from bayescascade.display.comparison import draw_comparison
from bayescascade.errors import bad_value
from bayescascade.rivals.cells import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_PAIRS = 5  # with fewer the signed-rank test cannot reach any usual level
ORACLE = "oracle"


class ResultKey(NamedTuple):
    """Where a cell stands in the result."""

    rival: str
    cascade: str
    n: str
    seed: int


@dataclass(frozen=True)
class Comparison:
    """Areas under error against cost of several methods, lower is better.

    Attributes
    ----------
    data : Dataset (rival, cascade, n, seed)
        A rival is a method, ours among them (``sel`` has an argument ``method`` of its own). ``auc``;
        ``auc_replicate`` over ``replicate`` too, on bootstrap samples of the test queries that all methods share;
        ``seconds`` to learn (methods that share a posterior count it once); ``error`` and ``cost`` over ``point``
        too, by rising cost, NaN beyond a method's last point; ``failed``, the sentence with which a method gave
        up, else empty.
    """

    data: xr.Dataset

    @classmethod
    def gather(cls, cells: Mapping[ResultKey, Result]) -> Comparison:
        """Put finished cells in their places."""
        axes = {name: list(dict.fromkeys(getattr(place, name) for place in cells)) for name in ResultKey._fields}
        shape = tuple(len(values) for values in axes.values())
        n_points = max(1, *(len(cell.error) for cell in cells.values()))
        n_replicates = len(next(iter(cells.values())).replicates)
        auc, seconds = np.full((2, *shape), np.nan)
        error, cost = np.full((2, *shape, n_points), np.nan)
        replicates = np.full((*shape, n_replicates), np.nan)
        failed = np.full(shape, "", dtype=object)
        for place, cell in cells.items():
            at = tuple(values.index(getattr(place, name)) for name, values in axes.items())
            auc[at], seconds[at], failed[at], replicates[at] = cell.auc, cell.seconds, cell.failed, cell.replicates
            error[at][: len(cell.error)], cost[at][: len(cell.cost)] = cell.error, cell.cost
        dims = tuple(axes)
        data = {
            "auc": (dims, auc),
            "auc_replicate": ((*dims, "replicate"), replicates),
            "seconds": (dims, seconds),
            "error": ((*dims, "point"), error),
            "cost": ((*dims, "point"), cost),
            "failed": (dims, failed.astype(str)),
        }
        return cls(xr.Dataset(data, coords={name: values for name, values in axes.items()}))

    @classmethod
    def join(cls, parts: Mapping[str, Comparison]) -> Comparison:
        """Several logs' comparisons as one, their names put before those of the cascades."""
        named = [
            part.data.assign_coords(cascade=[f"{name}: {c}" for c in part.data["cascade"].values])
            for name, part in parts.items()
        ]
        whole = xr.concat(named, "cascade", join="outer", data_vars="minimal", coords="minimal", compat="equals")
        return cls(whole.assign(failed=whole["failed"].fillna("").astype(str)))

    def table(self, reference: str | None = None, *, ci_prob: float = 0.9) -> pd.DataFrame:
        """Mean area by method and n, beside a method that all are compared with.

        Parameters
        ----------
        reference : str, optional
            Name of a method; by default the first.
        ci_prob : float
            Probability of the intervals, in (0, 1).

        Returns
        -------
        pandas.DataFrame
            Over (n, method): ``auc``; ``regret``, the area above the oracle's, where it ran; ``difference``, area
            less the reference's on the same runs, in percent of the reference's, with ``low`` and ``high``;
            ``p_value`` of Wilcoxon's signed-rank test over cascades (seeds averaged), or over runs where cascades
            are few; ``worse``, the share of these pairs in which the method is worse; ``seconds`` to learn;
            ``runs``.

        Raises
        ------
        CascadeError
            For a reference that was not run, or ``ci_prob`` outside (0, 1).

        Notes
        -----
        Intervals are normal. Their variance adds up that of the mean difference over bootstrap samples of the test
        queries, and, where there are several seeds, that of its mean over seeds. The pairs of the signed-rank test
        share queries, so they are not independent, and its p-values are too small; they are there because papers
        report them.
        """
        check_prob("ci_prob", ci_prob)
        names = [str(m) for m in self.data["rival"].values]
        reference = names[0] if reference is None else reference
        if reference not in names:
            raise bad_value("reference", reference, f"choose among {', '.join(names)}", "was not run")
        rows = [
            {"n": str(n), "method": name, **_row(self.data.sel(n=n), name, reference, ci_prob)}
            for n in self.data["n"].values
            for name in names
        ]
        return pd.DataFrame(rows).set_index(["n", "method"])

    @property
    def text(self) -> str:
        """Who is best at each n, and what failed, in a few sentences."""
        table = self.table()
        lines = []
        for n in self.data["n"].values:
            part = table.loc[str(n)].drop(index=ORACLE, errors="ignore")["auc"].dropna().sort_values()
            if not len(part):
                continue
            line = f"n = {n}: lowest area {part.iloc[0]:.4f} by {part.index[0]}"
            lines.append(line + (f", then {part.iloc[1]:.4f} by {part.index[1]}." if len(part) > 1 else "."))
        failed = self.data["failed"].where(self.data["failed"] != "").to_series().dropna()
        for name, part in failed.groupby(level="rival"):
            lines.append(f"{name} gave up in {len(part)} runs, first with: {part.iloc[0]}")
        return "\n".join(lines)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        reference: str | None = None,
        ci_prob: float = 0.9,
        title: str | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Axes:
        """Differences with intervals, see `bayescascade.plot_comparison`."""
        table = self.table(reference, ci_prob=ci_prob)
        return draw_comparison(ax, table, reference, title=title, figsize=figsize)

    def _repr_html_(self) -> str:
        return wrapped(note(self.text), frame_of(self.table(), caption="Area under error against cost", digits=4))


def _row(data: xr.Dataset, name: str, reference: str, ci_prob: float) -> dict[str, float]:
    own, other = (data.sel(rival=m).stack(run=("cascade", "seed")) for m in (name, reference))
    both = np.isfinite(own["auc"].values) & np.isfinite(other["auc"].values)
    row = {"auc": np.nan, "regret": np.nan, "difference": np.nan, "low": np.nan, "high": np.nan}
    row |= {"p_value": np.nan, "worse": np.nan, "seconds": float(own["seconds"].mean()), "runs": int(both.sum())}
    if not both.any():
        return row
    own, other = own.isel(run=both), other.isel(run=both)
    row["auc"] = float(own["auc"].mean())
    if ORACLE in data["rival"].values:
        best = data["auc"].sel(rival=ORACLE).stack(run=("cascade", "seed")).isel(run=both)
        row["regret"] = float((own["auc"] - best).mean())
    if name == reference:
        return row
    gap = own["auc"] - other["auc"]
    area = float(other["auc"].mean())
    scale = 100.0 / area if area > 0.0 else np.nan  # nothing is a share of an area of 0
    noise = float((own["auc_replicate"] - other["auc_replicate"]).mean("run").var("replicate", ddof=1))
    noise += _noise_of_seeds(gap)
    half = float(norm.ppf(tail_probabilities(ci_prob)[1])) * np.sqrt(noise)
    mean = float(gap.mean())
    pairs = gap.groupby("cascade").mean()
    if pairs.size < _LEAST_PAIRS:
        pairs = gap
    row |= {"difference": scale * mean, "low": scale * (mean - half), "high": scale * (mean + half)}
    row |= {"worse": float((pairs > 0).mean()), "p_value": _signed_rank(pairs.values)}
    return row


def _noise_of_seeds(gap: xr.DataArray) -> float:
    """Variance of the mean gap that comes from the seeds: of those cascades that were run with several."""
    names = gap["cascade"].values
    several = np.isin(names, [name for name in np.unique(names) if np.sum(names == name) > 1])
    if not several.any():
        return 0.0
    by_seed = gap.isel(run=several).groupby("seed").mean()
    return float(several.mean()) ** 2 * float(by_seed.var(ddof=1)) / by_seed.sizes["seed"]


def _signed_rank(gaps: np.ndarray) -> float:
    """Two-sided p-value; NaN where pairs are too few to tell, or never differ."""
    if len(gaps) < _LEAST_PAIRS or not np.any(gaps):
        return np.nan
    return float(wilcoxon(gaps).pvalue)
