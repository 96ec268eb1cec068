"""Is the cascade worth running? Its expected loss beside that of simpler ways to spend the same models.

Every rival is one fixed decision, as the cascade is: the one of its kind that is best in expectation over the
posterior. Draws then tell how sure the difference is. Comparing with what is best in each draw would let the
rival, but not the cascade, know the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.html import frame_of, note, wrapped
from bayescascade._common.parallel import map_blocks
from bayescascade._common.validation import check_positive
from bayescascade.analysis.limit_verdict import describe_limit, equal_losses, limit_rivals
from bayescascade.analysis.rival_table import (
    CASCADE,
    EVEN,
    SHORTER,
    SURE,
    THOUSAND,
    TIE,
    Strategy,
    against,
    is_toss_up,
    p_less,
    pair_of,
    rivals_table,
    shown,
    without_itself,
)
from bayescascade.cascade.discrepancy import read_discrepancy
from bayescascade.cascade.forward import Outcome, forward
from bayescascade.cascade.single_stages import ROUNDING, beats_mixtures, single_stages
from bayescascade.display.format import chance, money
from bayescascade.display.value import draw_verdict
from bayescascade.errors import CascadeError, in_python, option
from bayescascade.induction.free_positions import split_at_atoms
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.kernel import Kernel, build_kernel, restrict_kernel
from bayescascade.tuning.solution import ThresholdSolution, check_same_fit
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.threshold_search import search_thresholds
from bayescascade.tuning.tune import tune

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SEARCH_DRAWS = 300
_N_ABSTAINING = 3  # pairs that are tuned with rejecting thresholds
_FINE = 8  # steps in a segment, once the segment is known
_WORTH_A_PAIR = 0.01  # share of a single stage's loss that a pair must save for anybody to build it


@dataclass(frozen=True)
class Verdict:
    """Whether a cascade is worth running, against single stages, pairs and random mixes.

    Attributes
    ----------
    decision : str
        ``"run this cascade"``, ``"run it, though the gain is uncertain"``, ``"a toss-up between this cascade and
        ..., which is simpler"`` (either is better with a probability of 30% to 70%), ``"do not run this cascade:
        send every query to ..."`` or ``"run a shorter cascade: ..."``, a pair that does as well; ``"ask for less:
        nothing keeps this limit"`` where the goal is a limit out of reach.
    text : str
        The same with numbers.
    table : DataFrame
        One row for the cascade and each rival. ``kind`` is ``"cascade"``, ``"single stage"``, ``"pair"`` or
        ``"random mix"``; ``chosen`` marks the best of each kind. ``loss`` and ``saving`` (the rival's loss less
        the cascade's) are in money per 1,000 queries, with 90% intervals ``..._low`` and ``..._high``.
        ``p_beats``: probability that the cascade loses less than this rival, draws in which they are equal counted
        by half; ``p_beats_any``: than whatever rival of the kind is best in each draw. Where the goal is a limit,
        ``kept`` is the probability with which each keeps it, safety margin included, only those that keep it are
        ``chosen``, and without a price the loss is the cost (the error, where nothing but cost or latency is
        limited, in wrong answers per 1,000 queries).
    loss : DataArray (rival, chain, draw)
        Posterior draws of the loss per query, error_price * error + cost.
    error_price : float, optional
        What an error costs; None where the goal is a limit alone.
    solution : ThresholdSolution
        The cascade's thresholds.
    """

    decision: str
    text: str
    table: pd.DataFrame
    loss: xr.DataArray
    error_price: float | None
    solution: ThresholdSolution

    @property
    def shorter(self) -> bool:
        """Whether a pair of its stages does as well as the cascade, and better than any stage alone."""
        return self.decision.startswith(SHORTER)

    def plot(
        self, ax: Axes | None = None, *, title: str | None = None, figsize: tuple[float, float] | None = None
    ) -> Axes:
        """Draw what the cascade saves against each rival."""
        return draw_verdict(ax, self.table, title=title, figsize=figsize)

    def __repr__(self) -> str:
        return (
            f"{self.text}\n\n{shown(self.table).to_string(index=False, float_format='{:.4g}'.format, na_rep='')}"
        )

    def _repr_html_(self) -> str:
        return wrapped(note(self.text), frame_of(shown(self.table), caption="Money per 1,000 queries", digits=4))


def verdict(
    fit: xr.DataTree,
    *,
    error_price: float | None = None,
    solution: ThresholdSolution | None = None,
    abstain_price: float | None = None,
) -> Verdict:
    """Say whether the cascade is worth running, and what it saves against each simpler way.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.analysis.verdict import verdict
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> verdict(fit, error_price=0.02).decision
    'run it, though the gain is uncertain'

    A cascade that was tuned to a limit, beside what keeps the same limit:

    >>> verdict(fit, solution=bc.tune(fit, max_error=0.3)).table["kind"].tolist()[-1]
    'random mix'

    Parameters
    ----------
    fit : xarray.DataTree
    error_price : float, optional
        What one wrong answer costs, in the log's currency. Without it the solution's own goal decides: where that
        is a limit, rivals are those that keep the same limit with the same probability and safety margin.
    solution : ThresholdSolution, optional
        Thresholds to be judged, tuned on this fit. By default they are tuned to the prices.
    abstain_price : float, optional
        What leaving a query unanswered costs, in the log's currency. With it rivals may abstain, too.

    Returns
    -------
    Verdict

    Raises
    ------
    CascadeError
        Without a price and a solution, for a price that is not positive, a solution that is not of this fit, or
        one that abstains without a price for that.

    Notes
    -----
    A rival is the stage, the pair of stages with its thresholds, or the random mix of two stages that has the
    least expected loss over the posterior; it stays the same in every draw. At fixed prices no mix beats the
    better of its two stages, so the mix is the best of those that cost what the cascade costs. Where a limit is
    the goal, a rival is what `tune` chooses for the same goal of the stage or of the pair, and the best mix of
    two stages that keeps the limit. The cascade and all rivals are compared by the same posterior draws, without
    a safety margin; the margin only says who keeps the limit.
    """
    if error_price is None:
        return _by_own_goal(fit, solution)
    check_positive("error_price", error_price)
    spec = TuningSpec(error_price=float(error_price), abstain_price=abstain_price)
    draws = get_draws(fit)
    if solution is None:
        solution = tune(fit, error_price=error_price, abstain_price=abstain_price, stages=draws.stages)
    cascade = _of_solution(fit, draws, solution, spec)
    singles = stages_alone(draws, spec)
    equal = ROUNDING * error_price
    rivals = [
        *stage_rivals(draws, singles, cascade, equal),
        *pair_rivals(draws, spec, cascade, equal),
        *mix_rivals(draws, singles, cascade, error_price),
    ]
    rivals = without_itself(rivals, solution)
    table = rivals_table([Strategy(CASCADE, "cascade", cascade.loss, True), *rivals], equal)
    decision, text = describe(table, spec, THOUSAND * equal)
    if decision.startswith(SHORTER):
        single, pair = (next(r.loss for r in rivals if r.kind == k and r.chosen) for k in ("single stage", "pair"))
        text += f" {_of_pair(single - pair, equal)}"
    if decision.startswith(("do not", SHORTER)) and solution.goal.get("error_price") != error_price:
        tuned = _of_solution(
            fit, draws, tune(fit, error_price=error_price, abstain_price=abstain_price, stages=draws.stages), spec
        )
        text += f" Thresholds tuned to this price would lose {money(THOUSAND * tuned.loss.mean())}."
    losses = _losses(draws, table, [cascade.loss, *(rival.loss for rival in rivals)])
    return Verdict(decision, text, table, losses, float(error_price), solution)


def _by_own_goal(fit: xr.DataTree, solution: ThresholdSolution | None) -> Verdict:
    """The verdict by the goal that a solution was tuned to: its prices, or its limits."""
    if solution is None:
        raise CascadeError(
            "nothing says by what to judge; give {}, what an error costs{}.",
            (option("error_price"), in_python(", or a solution of tune, whose goal counts then")),
            parameter="error_price",
        )
    spec = TuningSpec(**solution.goal)
    if not spec.bounds:
        return verdict(
            fit, error_price=spec.error_price, solution=solution, abstain_price=solution.goal.get("abstain_price")
        )
    draws = get_draws(fit)
    check_same_fit(fit, solution)
    amounts = {name: flat(getattr(solution, name)) for name, _ in spec.weights if name != "abstained"}
    amounts["abstained"] = np.zeros(draws.n) if solution.abstained is None else flat(solution.abstained)
    loss = spec.objective().loss(amounts)
    rivals = limit_rivals(draws, spec, read_discrepancy(fit, spec.doubt, one_sided=True), loss)
    rivals = without_itself(rivals, solution)
    equal = equal_losses(loss)
    table = rivals_table([Strategy(CASCADE, "cascade", loss, True, kept=solution.kept), *rivals], equal)
    decision, text = describe_limit(table, spec, solution, THOUSAND * equal)
    losses = _losses(draws, table, [loss, *(rival.loss for rival in rivals)])
    return Verdict(decision, text, table, losses, spec.error_price, solution)


def _losses(draws: Draws, table: pd.DataFrame, losses: list[np.ndarray]) -> xr.DataArray:
    return xr.DataArray(
        np.stack(losses).reshape(len(losses), len(draws.chains), -1),
        dims=("rival", "chain", "draw"),
        coords={"rival": table["rival"].to_numpy(dtype=str), "chain": draws.chains},
    )


def flat(values: xr.DataArray) -> np.ndarray:
    """An amount of each draw, chains end to end (draw,)."""
    return values.transpose("chain", "draw").values.ravel()


@dataclass(frozen=True)
class StrategyOutcome:
    """One way to answer queries (draw,), or several (draw, way): its loss, and the part of it that calls cost."""

    loss: np.ndarray
    cost: np.ndarray


def strategy_outcome(
    spec: TuningSpec, error: np.ndarray, cost: np.ndarray, abstained: np.ndarray | None = None
) -> StrategyOutcome:
    """Loss and cost at the prices, of shares (draw,) or (draw, way)."""
    loss = (spec.error_price or 0.0) * error + cost
    return StrategyOutcome(loss if abstained is None else loss + (spec.abstain_price or 0.0) * abstained, cost)


def _priced(spec: TuningSpec, outcome: Outcome) -> StrategyOutcome:
    return strategy_outcome(spec, outcome.error, outcome.cost, outcome.abstained)


def _of_solution(fit: xr.DataTree, draws: Draws, solution: ThresholdSolution, spec: TuningSpec) -> StrategyOutcome:
    """What a solution comes to, if it was tuned on this fit."""
    check_same_fit(fit, solution)
    if solution.abstained is not None and spec.abstain_price is None:
        raise CascadeError(
            "the solution leaves queries unanswered; give {}, what each of them costs.",
            (option("abstain_price"),),
            parameter="abstain_price",
        )

    abstained = None if solution.abstained is None else flat(solution.abstained)
    return strategy_outcome(spec, flat(solution.error), flat(solution.cost), abstained)


def stages_alone(draws: Draws, spec: TuningSpec) -> StrategyOutcome:
    """What it comes to if every query goes to one stage (draw, stage), which abstains where that has a price."""
    if spec.abstain_price is None:
        return strategy_outcome(spec, *single_stages(draws))
    found = [_priced(spec, search_thresholds(draws.restrict([j]), spec).outcome) for j in range(len(draws.stages))]
    return StrategyOutcome(
        np.stack([one.loss for one in found], axis=1), np.stack([one.cost for one in found], axis=1)
    )


def stage_rivals(draws: Draws, singles: StrategyOutcome, cascade: StrategyOutcome, equal: float) -> list[Strategy]:
    """Every stage alone (one each); the one of least mean loss is chosen."""
    best = int(np.argmin(singles.loss.mean(axis=0)))
    every = _beats(cascade.loss, singles.loss.min(axis=1), equal)
    return [
        Strategy(f"{name} alone", "single stage", singles.loss[:, j], j == best, every if j == best else None)
        for j, name in enumerate(draws.stages)
    ]


def pair_rivals(draws: Draws, spec: TuningSpec, cascade: StrategyOutcome, equal: float) -> list[Strategy]:
    """The best cascade of two stages, where there are more than two."""
    if len(draws.stages) < 3:
        return []
    pairs = list(combinations(range(len(draws.stages)), 2))
    kernel = build_kernel(draws.thin(_SEARCH_DRAWS))
    found = [_best_pair(restrict_kernel(kernel, pair), spec) for pair in pairs]
    if spec.abstain_price is not None:
        # with rejecting thresholds there is more to search, so only for pairs that do well without
        first = np.argsort([loss for loss, _ in found], kind="stable")[:_N_ABSTAINING]
        pairs = [pairs[i] for i in first]
        positions = [search_thresholds(draws.restrict(pair), spec).row[None] for pair in pairs]
    else:
        positions = [at for _, at in found]

    def run(block: slice) -> np.ndarray:
        whole = build_kernel(draws.take(block))
        each = [forward(restrict_kernel(whole, pair), x) for pair, x in zip(pairs, positions, strict=True)]
        return np.concatenate([_priced(spec, outcome).loss for outcome in each], axis=1)

    losses = np.concatenate(map_blocks(run, draws.blocks()))
    best = int(np.argmin(losses.mean(axis=0)))
    every = _beats(cascade.loss, losses.min(axis=1), equal)
    loss = losses[:, best]
    return [pair_of(draws.restrict(pairs[best]), positions[best][0], loss, True, beats_any=every)]


def _best_pair(kernel: Kernel, spec: TuningSpec) -> tuple[float, np.ndarray]:
    """Least mean loss of a cascade of two stages, and its position (1, 2); it has but one threshold."""
    n = len(kernel.draws.margins[0].low)

    def best(first: np.ndarray) -> tuple[float, np.ndarray]:
        points = split_at_atoms(kernel.draws, np.column_stack([np.clip(first, 0.0, n), np.zeros(len(first))]))
        mean = _priced(spec, forward(kernel, points)).loss.mean(axis=0)
        return float(mean.min()), points[[np.argmin(mean)]]

    at = best(np.arange(n + 1.0))[1]
    return best(at[0, 0] + np.arange(-_FINE, _FINE + 1) / _FINE)


def mix_rivals(draws: Draws, singles: StrategyOutcome, cascade: StrategyOutcome, price: float) -> list[Strategy]:
    """The best random mix of two stages of those that cost as much as the cascade, in expectation."""
    loss, cost, target = singles.loss.mean(axis=0), singles.cost.mean(axis=0), cascade.cost.mean()
    shares = [(j, j, 1.0) for j in range(len(cost)) if cost[j] <= target]
    for low, high in combinations(np.argsort(cost, kind="stable"), 2):
        if cost[low] < target < cost[high]:
            shares.append((low, high, (cost[high] - target) / (cost[high] - cost[low])))
    if not shares:
        return []
    # what is left to compare is what errors cost: a stage that costs less than the cascade has money to spare
    wrong = loss - cost
    low, high, share = min(shares, key=lambda s: s[2] * wrong[s[0]] + (1.0 - s[2]) * wrong[s[1]])
    mixed = share * singles.loss[:, low] + (1.0 - share) * singles.loss[:, high]
    names = [draws.stages[j] for j in (low, high)]
    name = f"all to {names[0]}" if share > 0.995 else f"{share:.0%} to {names[0]}, {1.0 - share:.0%} to {names[1]}"
    # of equal cost, the one with less loss is the one whose errors cost less
    rest = (cascade.loss - cascade.cost) / price, (singles.loss - singles.cost) / price
    every = beats_mixtures(rest[0], cascade.cost, (rest[1], singles.cost))
    return [Strategy(name, "random mix", mixed, True, every)]


def _beats(loss: np.ndarray, other: np.ndarray, equal: float) -> np.ndarray:
    return loss < other - equal


def describe(table: pd.DataFrame, spec: TuningSpec, equal: float) -> tuple[str, str]:
    """The decision, and the sentences with its reasons."""
    chosen = {row.kind: row for row in table.itertuples() if row.chosen}
    single = str(chosen["single stage"].rival).removesuffix(" alone")
    rival = chosen["single stage"]
    # a pair whose second stage is hardly run is a stage alone with more to look after
    if "pair" in chosen and chosen["pair"].loss < (1.0 - _WORTH_A_PAIR) * rival.loss:
        rival = chosen["pair"]
    tie = max(equal, TIE * chosen["cascade"].loss)
    if is_toss_up(rival, tie):
        decision = f"{EVEN} {CASCADE} and {rival.rival}, which is simpler"
    elif rival.saving <= tie:
        decision = f"{SHORTER}: {rival.rival}"
        if rival.kind == "single stage":
            decision = f"do not run this cascade: send every query to {single}"
    else:
        decision = "run this cascade" if rival.p_beats >= SURE else "run it, though the gain is uncertain"
    unanswered = (
        "" if spec.abstain_price is None else f" and no answer {spec.abstain_price:g} (rivals may abstain, too)"
    )
    sentences = [
        f"{decision[0].upper()}{decision[1:]}. Where an error costs {spec.error_price:g}{unanswered}, the "
        f"cascade is expected to lose {money(chosen['cascade'].loss)} per 1,000 queries, errors and calls "
        "together.",
        against(f"the best single stage, {single},", chosen["single stage"], equal),
    ]
    if "pair" in chosen:
        sentences.append(against(f"the best pair, {chosen['pair'].rival},", chosen["pair"], equal))
    if "random mix" in chosen:
        row = chosen["random mix"]
        sentences.append(against(f"a random mix that costs as much ({row.rival})", row, equal))
    return decision, " ".join(sentences)


def _of_pair(saving: np.ndarray, equal: float) -> str:
    """What the pair that is as good as the cascade saves against the best single stage (draw,)."""
    return (
        f"That pair saves {money(THOUSAND * saving.mean())} against the best single stage. The probability that "
        f"it is the cheaper of the two is {chance(p_less(-saving, equal))}."
    )
