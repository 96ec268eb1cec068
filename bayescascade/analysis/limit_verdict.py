"""The verdict where the goal is a limit: the cheapest simpler ways that keep the same limit."""

from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bayescascade._common.messages import say_if_long
from bayescascade.analysis.rival_table import (
    CASCADE,
    EVEN,
    SHORTER,
    SURE,
    TIE,
    Strategy,
    against,
    is_toss_up,
    pair_of,
)
from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.cascade.single_stages import ROUNDING
from bayescascade.display.format import money
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.objective import Amounts, amounts_of
from bayescascade.tuning.solution import Solved, ThresholdSolution
from bayescascade.tuning.solution_text import goal_in_words, promised
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.threshold_search import search_thresholds

_SOME_DRAWS = 500  # to choose the best pair by
_N_SHARES = 200  # random mixes of two stages that are tried
_KINDS = {"single stage": "single stage", "pair": "pair", "random mix": "random mix of two stages"}


def limit_rivals(
    draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None, cascade: np.ndarray
) -> list[Strategy]:
    """Every stage alone, the best pair and the best random mix, each as `tune` would choose it for this goal.

    The best of a kind that keeps the limit, the safety margin included, is marked as chosen; where none of a kind
    does, it is shown by what comes nearest. ``cascade`` (draw,) is the cascade's loss.
    """
    objective = spec.objective()
    alone = [search_thresholds(draws.restrict([j]), spec, discrepancy) for j in range(len(draws.stages))]
    best = min(range(len(alone)), key=lambda j: alone[j].place)
    found = [
        Strategy(
            f"{name} alone",
            "single stage",
            objective.loss(_amounts(one, objective.names))[:, 0],
            j == best and one.feasible,
            kept=one.kept,
        )
        for j, (name, one) in enumerate(zip(draws.stages, alone, strict=True))
    ]
    if len(draws.stages) > 2:
        pair = _best_pair(draws, spec, discrepancy)
        loss = objective.loss(_amounts(pair, objective.names))[:, 0]
        found.append(pair_of(pair.draws, pair.row, loss, pair.feasible, kept=pair.kept))
    return [*found, *_best_mix(draws, spec, alone)]


def _amounts(solved: Solved, names: list[str], *, margin: bool = False) -> Amounts:
    """Amounts of what was tuned (draw, 1): the posterior's, or those that its promise is judged by."""
    outcome = solved.outcome
    if margin and solved.error_with_margin is not None:
        outcome = outcome._replace(error=solved.error_with_margin)
    columns = {name: x[:, None] for name, x in outcome._asdict().items() if x is not None}
    return amounts_of(outcome._replace(**columns), solved.draws, names)


def _best_pair(draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None) -> Solved:
    """The best cascade of two stages; some draws choose the pair, and all its thresholds."""
    some = draws.thin(_SOME_DRAWS)
    pairs, start = list(combinations(range(len(draws.stages)), 2)), time.monotonic()
    places = []
    for pair in pairs:
        places.append(search_thresholds(some.restrict(pair), spec, discrepancy).place)
        if len(places) == 1:
            say_if_long("The verdict", (time.monotonic() - start) * (len(pairs) - 1))
    first = pairs[min(range(len(pairs)), key=lambda i: places[i])]
    return search_thresholds(draws.restrict(first), spec, discrepancy)


def _best_mix(draws: Draws, spec: TuningSpec, alone: list[Solved]) -> list[Strategy]:
    """The best random mix of two stages, if one keeps the limit: a coin decides which of them a query goes to."""
    objective = spec.objective(draws)
    share = np.linspace(0.0, 1.0, _N_SHARES + 1)[1:-1]
    by_model, judged = (
        [_amounts(one, objective.names, margin=margin) for one in alone] for margin in (False, True)
    )
    best: tuple[float, Strategy] | None = None
    for i, j in combinations(range(len(alone)), 2):

        def mixed(parts: list[Any], i: int = i, j: int = j) -> dict[str, np.ndarray]:
            return {name: (1.0 - share) * parts[i][name] + share * parts[j][name] for name in objective.names}

        amounts = mixed(judged)
        order, feasible = objective.rank(amounts)
        at = int(order[0])
        risk = float(objective.risk(amounts)[at])
        if feasible[at] and (best is None or risk < best[0]):
            first, second = draws.stages[i], draws.stages[j]
            name = f"{1.0 - share[at]:.1%} to {first}, {share[at]:.1%} to {second}"
            kept = float(objective.promise_probability(amounts)[at])
            best = (
                risk,
                Strategy(name, "random mix", spec.objective().loss(mixed(by_model))[:, at], True, kept=kept),
            )
    return [] if best is None else [best[1]]


def equal_losses(loss: np.ndarray) -> float:
    """Losses this close are the same."""
    return ROUNDING * float(np.abs(loss).mean())


def describe_limit(
    table: pd.DataFrame, spec: TuningSpec, solution: ThresholdSolution, equal: float
) -> tuple[str, str]:
    """The decision, and the sentences with its reasons; ``equal`` is in the table's units."""
    chosen = {row.kind: row for row in table.itertuples() if row.chosen and row.kind != "cascade"}
    in_money = dict(spec.weights) != {"error": 1.0}
    unit, better = ("", "is the cheaper one") if in_money else (" wrong answers", "errs less")
    goal, loss = goal_in_words(solution.goal), table["loss"][0]
    decision = _decide(chosen, solution.feasible, max(equal, TIE * abs(loss)))
    what = "cost" if [name for name, _ in spec.weights] == ["cost"] else "lose"
    lead = f"{decision[0].upper()}{decision[1:]}. "
    if solution.feasible:
        how = f"{what} {money(loss)}" if in_money else f"give {loss:.3g}{unit}"
        lead += f"To have {goal}, the cascade is expected to {how} per 1,000 queries."
    else:
        lead += f"No thresholds of this cascade give {goal}; the best reach {promised(solution.kept, spec.prob)}."
    sentences = [lead]
    for kind, called in _KINDS.items():
        rows = table[table["kind"] == kind]
        if kind in chosen:
            row = chosen[kind]
            name = f"the best {called} that keeps this, {str(row.rival).removesuffix(' alone')},"
            sentences.append(
                against(name, row, equal, better, unit)
                if solution.feasible
                else f"The best {called}, {row.rival}, keeps it with probability {promised(row.kept, spec.prob)}."
            )
        elif len(rows):
            near = rows.loc[rows["kept"].idxmax()]
            nearest = f"{near['rival']} comes nearest, with probability {promised(near['kept'], spec.prob)}"
            sentences.append(f"No {called} keeps it: {nearest}.")
        elif kind == "random mix":
            sentences.append("No random mix of two stages keeps it.")
    return decision, " ".join(sentences)


def _decide(chosen: dict[str, Any], feasible: bool, tie: float) -> str:
    """What to run, of the cascade and those simpler ways that keep the limit."""
    single = chosen.get("single stage")
    able = [chosen[kind] for kind in ("single stage", "pair") if kind in chosen]
    rival: Any = min(able, key=lambda row: row.loss, default=None)
    # a pair that saves nothing beside a stage alone is only more to look after
    if single is not None and rival is not single and single.loss <= rival.loss + tie:
        rival = single
    if rival is not None and feasible and is_toss_up(rival, tie):
        return f"{EVEN} {CASCADE} and {rival.rival}, which is simpler"
    if rival is not None and (not feasible or rival.saving <= tie):
        if rival.kind == "single stage":
            return f"do not run this cascade: send every query to {str(rival.rival).removesuffix(' alone')}"
        return f"{SHORTER}: {rival.rival}"
    if not feasible:
        return "ask for less: nothing keeps this limit"
    sure = rival is None or rival.p_beats >= SURE
    return f"run {CASCADE}" if sure else "run it, though the gain is uncertain"
