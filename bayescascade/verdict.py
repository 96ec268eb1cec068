"""Is the cascade worth running? Its expected loss beside that of simpler ways to spend the same models.

Every rival is one fixed decision, as the cascade is: the one of its kind that is best in expectation over the
posterior. Draws then tell how sure the difference is. Comparing with what is best in each draw would let the
rival, but not the cascade, know the truth.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade._cores import n_cores
from bayescascade._singles import ROUNDING, beats_mixtures, single_stages
from bayescascade.cascade import Kernel, blocks, build_kernel, forward, restrict_kernel
from bayescascade.draws import Draws, get_draws, to_thresholds
from bayescascade.errors import CascadeError
from bayescascade.labels import positive
from bayescascade.search import realisable
from bayescascade.solution import ThresholdSolution, show_threshold
from bayescascade.tuning import tune

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_SEARCH_DRAWS = 300
_FINE = 8  # steps in a segment, once the segment is known
_SURE = 0.9
_CI = (0.05, 0.95)
_THOUSAND = 1000.0
CASCADE = "this cascade"


@dataclass(frozen=True)
class Verdict:
    """Whether a cascade is worth running, against single stages, pairs and random mixes.

    Attributes
    ----------
    decision : str
        ``"run this cascade"``, ``"run it, though the gain is uncertain"``, ``"do not run this cascade: send every
        query to ..."`` or ``"do not run this cascade: run only ..."``, a pair.
    text : str
        The same with numbers.
    table : DataFrame
        One row for the cascade and each rival. ``kind`` is ``"cascade"``, ``"single stage"``, ``"pair"`` or
        ``"random mix"``; ``chosen`` marks the best of each kind. ``loss`` and ``saving`` (the rival's loss less
        the cascade's) are in money per 1,000 queries, with 90% intervals ``..._low`` and ``..._high``.
        ``p_beats``: probability that the cascade loses less than this rival; ``p_beats_any``: than whatever rival
        of the kind is best in each draw.
    loss : DataArray (rival, chain, draw)
        Expected loss per query, error_price * error + cost.
    error_price : float
    solution : ThresholdSolution
        The cascade's thresholds.
    """

    decision: str
    text: str
    table: pd.DataFrame
    loss: xr.DataArray
    error_price: float
    solution: ThresholdSolution

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what the cascade saves against each rival."""
        from bayescascade._value_plots import draw_verdict

        return draw_verdict(ax, self.table)

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.table.to_string(index=False, float_format='{:.4g}'.format, na_rep='')}"

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, border=0, float_format="{:.4g}".format, na_rep="")
        return f"<div><p><strong>{escape(self.decision)}</strong></p><p>{escape(self.text)}</p>{table}</div>"


@dataclass(frozen=True)
class _Rival:
    """One way to answer queries, and its loss (draw,).

    ``beats_any`` says where the cascade beats the best of this kind, draw by draw (draw,).
    """

    name: str
    kind: str
    loss: np.ndarray
    chosen: bool = False
    beats_any: np.ndarray | None = None


def verdict(fit: xr.DataTree, *, error_price: float, solution: ThresholdSolution | None = None) -> Verdict:
    """Say whether the cascade is worth running, and what it saves against each simpler way.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.verdict import verdict
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> verdict(fit, error_price=0.02).decision
    'run this cascade'

    Parameters
    ----------
    fit : xarray.DataTree
    error_price : float
        What one wrong answer costs, in the log's currency.
    solution : ThresholdSolution, optional
        Thresholds to be judged, tuned on this fit to whatever goal. By default they are tuned to ``error_price``.

    Returns
    -------
    Verdict

    Raises
    ------
    CascadeError
        For a price that is not positive, or a solution that is not of this fit.

    Notes
    -----
    A rival is the stage, the pair of stages with its threshold, or the random mix of two stages that has the
    least expected loss over the posterior; it stays the same in every draw. At a fixed price no mix beats the
    better of its two stages, so the mix is the one of least expected error among those that cost what the cascade
    costs.
    """
    price = positive("error_price", error_price)
    draws = get_draws(fit)
    if solution is None:
        solution = tune(fit, error_price=price)
    error, cost = _of_solution(fit, draws, solution)
    loss = price * error + cost
    rivals = [
        *_singles(draws, price, loss),
        *_pairs(draws, price, loss),
        *_mix(draws, price, error, cost),
    ]
    table = _table([_Rival(CASCADE, "cascade", loss, True), *rivals], price)
    decision, text = _describe(table, price)
    shape = (len(draws.chains), -1)
    return Verdict(
        decision,
        text,
        table,
        xr.DataArray(
            np.stack([loss.reshape(shape), *(rival.loss.reshape(shape) for rival in rivals)]),
            dims=("rival", "chain", "draw"),
            coords={"rival": table["rival"].to_numpy(dtype=str), "chain": draws.chains},
        ),
        price,
        solution,
    )


def _of_solution(fit: xr.DataTree, draws: Draws, solution: ThresholdSolution) -> tuple[np.ndarray, np.ndarray]:
    """Error and cost (draw,) of a solution, if it was tuned on this fit."""
    error, cost = (getattr(solution, name).transpose("chain", "draw").values.ravel() for name in ("error", "cost"))
    stages = [str(s) for s in solution.thresholds["stage"].values]
    if not set(stages) <= set(draws.stages):
        raise CascadeError(f"the solution is for stages {stages}, but the fit has {draws.stages}.")
    known = str(fit.attrs.get("data_hash", "")), str(solution.provenance.get("data_hash", ""))
    if len(error) != draws.n or (all(known) and known[0] != known[1]):
        raise CascadeError(
            "the solution was tuned on another fit than the one that came with it; tune this fit and pass that."
        )
    return error, cost


def _singles(draws: Draws, price: float, loss: np.ndarray) -> list[_Rival]:
    error, cost = single_stages(draws)
    alone = price * error + cost
    best = int(np.argmin(alone.mean(axis=0)))
    out = []
    for j, name in enumerate(draws.stages):
        every = _beats(loss, alone.min(axis=1), price) if j == best else None
        out.append(_Rival(f"{name} alone", "single stage", alone[:, j], j == best, every))
    return out


def _pairs(draws: Draws, price: float, loss: np.ndarray) -> list[_Rival]:
    """The best cascade of two stages, where there are more than two."""
    pairs = list(combinations(range(len(draws.stages)), 2))
    if len(draws.stages) < 3:
        return []
    kernel = build_kernel(draws.thin(_SEARCH_DRAWS))
    positions = [_best_pair(restrict_kernel(kernel, pair), price) for pair in pairs]

    def run(block: slice) -> np.ndarray:
        whole = build_kernel(draws.take(block))
        found = [forward(restrict_kernel(whole, pair), x) for pair, x in zip(pairs, positions, strict=True)]
        return np.concatenate([price * out[0] + out[1] for out in found], axis=1)

    with ThreadPoolExecutor(n_cores()) as pool:
        losses = np.concatenate(list(pool.map(run, blocks(draws.n))))
    best = int(np.argmin(losses.mean(axis=0)))
    first, second = (draws.stages[j] for j in pairs[best])
    threshold = to_thresholds(positions[best], draws.restrict(pairs[best]))[0, 0]
    name = f"{first} > {second} at {show_threshold(float(threshold))}"
    return [_Rival(name, "pair", losses[:, best], True, _beats(loss, losses.min(axis=1), price))]


def _best_pair(kernel: Kernel, price: float) -> np.ndarray:
    """The position (1, 2) of least mean loss of a cascade of two stages: there is but one threshold to search."""
    n = len(kernel.draws.margins[0].low)

    def best(first: np.ndarray) -> np.ndarray:
        points = realisable(kernel.draws, np.column_stack([np.clip(first, 0.0, n), np.zeros(len(first))]))
        out = forward(kernel, points)
        return points[[np.argmin((price * out[0] + out[1]).mean(axis=0))]]

    at = best(np.arange(n + 1.0))
    return best(at[0, 0] + np.arange(-_FINE, _FINE + 1) / _FINE)


def _mix(draws: Draws, price: float, error: np.ndarray, cost: np.ndarray) -> list[_Rival]:
    """The random mix of two stages that costs as much as the cascade and errs least, in expectation."""
    singles = single_stages(draws)
    mean_error, mean_cost = (x.mean(axis=0) for x in singles)
    target = cost.mean()
    shares = [(j, j, 1.0) for j in range(len(mean_cost)) if mean_cost[j] <= target]
    for low, high in combinations(np.argsort(mean_cost, kind="stable"), 2):
        if mean_cost[low] < target < mean_cost[high]:
            shares.append((low, high, (mean_cost[high] - target) / (mean_cost[high] - mean_cost[low])))
    if not shares:
        return []
    low, high, share = min(shares, key=lambda s: s[2] * mean_error[s[0]] + (1.0 - s[2]) * mean_error[s[1]])
    alone = price * singles[0] + singles[1]
    mixed = share * alone[:, low] + (1.0 - share) * alone[:, high]
    names = [draws.stages[j] for j in (low, high)]
    name = f"all to {names[0]}" if share > 0.995 else f"{share:.0%} to {names[0]}, {1.0 - share:.0%} to {names[1]}"
    return [_Rival(name, "random mix", mixed, True, beats_mixtures(error, cost, singles))]


def _beats(loss: np.ndarray, other: np.ndarray, price: float) -> np.ndarray:
    return loss < other - ROUNDING * price


def _table(rows: list[_Rival], price: float) -> pd.DataFrame:
    import pandas as pd

    cascade, records = rows[0].loss, []
    for row in rows:
        saving = row.loss - cascade
        record = {"rival": row.name, "kind": row.kind, "chosen": row.chosen}
        for name, values in (("loss", row.loss), ("saving", saving)):
            low, high = np.quantile(values, _CI)
            record |= {
                name: _THOUSAND * values.mean(),
                f"{name}_low": _THOUSAND * low,
                f"{name}_high": _THOUSAND * high,
            }
        other = row.kind != "cascade"
        record["p_beats"] = _beats(cascade, row.loss, price).mean() if other else np.nan
        record["p_beats_any"] = np.nan if row.beats_any is None else row.beats_any.mean()
        records.append(record)
    return pd.DataFrame(records)


def _describe(table: pd.DataFrame, price: float) -> tuple[str, str]:
    """The decision, and the sentences with its reasons."""
    chosen = {row.kind: row for row in table.itertuples() if row.chosen}
    single = str(chosen["single stage"].rival).removesuffix(" alone")
    rival, equal = chosen["single stage"], _THOUSAND * ROUNDING * price
    # a pair whose second stage is hardly run is a stage alone with more to look after
    if "pair" in chosen and chosen["pair"].loss < rival.loss - equal:
        rival = chosen["pair"]
    if rival.saving <= equal:
        instead = f"send every query to {single}" if rival.kind == "single stage" else f"run only {rival.rival}"
        decision = f"do not run this cascade: {instead}"
    else:
        decision = "run this cascade" if rival.p_beats >= _SURE else "run it, though the gain is uncertain"
    sentences = [
        f"{decision[0].upper()}{decision[1:]}. Where an error costs {price:g}, the cascade is expected to lose "
        f"{chosen['cascade'].loss:.3g} per 1,000 queries, errors and calls together.",
        _against(f"the best single stage, {single},", chosen["single stage"], equal),
    ]
    if "pair" in chosen:
        sentences.append(_against(f"the best pair, {chosen['pair'].rival},", chosen["pair"], equal))
    if "random mix" in chosen:
        row = chosen["random mix"]
        sentences.append(_against(f"a random mix that costs as much ({row.rival})", row, equal))
    return decision, " ".join(sentences)


def _against(name: str, row: Any, equal: float) -> str:
    """What the cascade saves against one rival, or costs more."""
    if abs(row.saving) <= equal:
        return f"Against {name} it makes no difference."
    verb, sign = ("saves", 1.0) if row.saving >= 0.0 else ("costs", -1.0)
    low, high = sorted((sign * row.saving_low, sign * row.saving_high))
    more = "" if sign > 0 else " more"
    return (
        f"Against {name} it {verb} {abs(row.saving):.3g}{more} (90% interval {low:.3g} to {high:.3g}), and is the "
        f"cheaper one with probability {_chance(row.p_beats)}."
    )


def _chance(p: float) -> str:
    # a share of some thousand draws cannot show certainty
    return "above 99.9%" if p > 0.999 else "below 0.1%" if p < 0.001 else f"{p:.1%}"
