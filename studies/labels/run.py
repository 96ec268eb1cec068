"""The worth of labels, from few refits, against nested simulation with many.

Run from the project's root: ``python -m studies.labels.run``. Writes ``docs/evidence/labels.md``; results of the nested
simulation go to ``build/labels.csv`` as they come, and a run that was stopped goes on from there. A replication is one
nested refit for each row of the table.

`label_value` refits with the old log's segments, and draws the calibration alone where stages are compared. The nested
simulation takes no such short cut: old and new queries are fitted as `fit` does it, with segments cut anew.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.analysis.evsi import contenders, make_space
from bayescascade.analysis.label_price import decisions_of
from bayescascade.analysis.label_value import ALL, label_value
from bayescascade.analysis.refits import Decisions, Refits
from bayescascade.cascade.positions import to_positions, to_thresholds
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.design import build_design
from bayescascade.posterior.draws import get_draws
from studies.common.command import Run, parse

PRICE, SEED = 0.02, 3
SIZES = (25, 50, 100, 200, 400)
NESTED = [(ALL, 25), (ALL, 100), (ALL, 200), ("small", 100), ("medium", 100), ("large", 100)]
HOW: dict[str, Any] = {"draws": 300, "tune": 150, "chains": 2, "cores": 1}


def small_log() -> xr.Dataset:
    """Three stages, 60 queries, all labelled."""
    return bc.simulate(60, n_stages=3, top_atom=[0.2, 0.1, 0.0], random_seed=SEED)


@dataclass
class Question:
    """A fit, the decisions to choose from, and what its draws say of them."""

    fit: xr.DataTree

    def __post_init__(self) -> None:
        self.draws = get_draws(self.fit)
        decisions = decisions_of(self.fit, self.draws, PRICE)
        error, cost = decisions.outcomes(self.draws)
        keep = contenders(-(error * PRICE + cost))
        self.decisions = decisions.take(keep)
        self.space = make_space(-(error * PRICE + cost)[:, keep])
        # new queries come of draws evenly spread over how these tell the decisions apart
        self.order = np.argsort(self.space.z[:, 0], kind="stable")

    def draw_of(self, number: int) -> int:
        """The draw that the queries of a refit come from."""
        return int(self.order[int(evenly(number) * len(self.order))])


def nested(question: Question, option: str, m: int, number: int) -> dict[str, float]:
    """One refit: how much better the best decision is after the labels than the one that is best before."""
    fit, draws, decisions = question.fit, question.draws, question.decisions
    names = draws.stages
    rng = np.random.default_rng([SEED, 9, m, number])  # the same queries for every choice of stages
    chosen = list(range(len(names))) if option == ALL else [names.index(option)]
    refits = Refits(fit, draws, [chosen], "new", SEED)
    log, right, _ = refits._with_new(question.draw_of(number), m, rng)
    labelled = np.isfinite(right) & np.isin(np.arange(len(names)), chosen)
    log = log.assign(correct=(("query", "stage"), np.where(labelled, right, log["correct"].values)))
    how = SamplerConfig(**HOW, random_seed=int(rng.integers(2**31)), log_likelihood=False)
    after = get_draws(fit_design(build_design(log, refits._model), log, how))
    thresholds = to_thresholds(decisions.positions, draws)
    thresholds[:, -1] = -np.inf
    error, cost = Decisions(to_positions(thresholds, after), decisions.alone).outcomes(after)
    net = -(error * PRICE + cost)
    before = question.space.best
    gap = net - net[:, before, None]
    # the noise of few draws favours whatever is picked by them; picked by one half and judged by the other, it does not
    halves = gap[: len(gap) // 2].mean(axis=0), gap[len(gap) // 2 :].mean(axis=0)
    crossed = 0.5 * (halves[0][np.argmax(halves[1])] + halves[1][np.argmax(halves[0])])
    return {"picked": gap.mean(axis=0).max(), "crossed": crossed, "width": _width(error[:, before])}


def evenly(number: int) -> float:
    """The van der Corput sequence: evenly spread over (0, 1) wherever it stops."""
    return sum(int(bit) / 2 ** (i + 1) for i, bit in enumerate(reversed(f"{number + 1:b}")))


def _width(values: np.ndarray) -> float:
    low, high = np.quantile(values, (0.05, 0.95))
    return float(high - low)


def run_nested(question: Question, run: Run, asked: list[tuple[str, int]], n: int) -> pd.DataFrame:
    """All rows of the nested simulation, those of an earlier run included."""
    rows = run.rows(("option", "m", "number"))
    for option, m, number in rows.missing((option, m, number) for number in range(n) for option, m in asked):
        start = time.process_time()
        row = nested(question, option, m, number)
        rows.add((option, m, number), [row | {"seconds": time.process_time() - start}])
    table = rows.table
    return table[table["number"] < n]


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("labels", __doc__, argv, replications=120)
    n, asked = (2, NESTED[:1]) if run.quick else (run.replications, NESTED)
    fit = bc.fit(small_log(), random_seed=1, progressbar=False)
    question = Question(fit)
    rows = run_nested(question, run, asked, n)
    start = time.process_time()
    worth = label_value(fit, error_price=PRICE, n_labels=SIZES, stages="each", random_seed=1)
    seconds = time.process_time() - start
    lines = [
        "# The value of labels: few refits compared with many",
        "",
        f"`python -m studies.labels.run --replications {n}`: three stages, 60 labelled queries, {PRICE:g} for an error; money per",
        f"1,000 queries served, ± one Monte Carlo error. Knowing everything would be worth {worth.evpi:.3f}. *Nested* is a lower and",
        f"an upper estimate from {n} refits at one number of labels, with the segments cut again each time: decisions picked and",
        "judged by different halves of the draws, or by the same. *Few refits* is `label_value`: all its rows come from 28 refits",
        f"as a whole and 84 of the calibration alone ({seconds:.0f} s of processor time).",
        "",
        "| labelled at | queries | nested, lower | nested, upper | few refits | width of the error's 90% interval, nested | few refits |",
        "|---|---|---|---|---|---|---|",
    ]
    for option, m in asked:
        part = rows[(rows["option"] == option) & (rows["m"] == m)]
        at = worth.data.sel(labelled=option, n_labels=m)
        cells = [
            f"{1000 * part[name].mean():.3f} ± {1000 * part[name].sem():.3f}" for name in ("crossed", "picked")
        ]
        width = f"{part['width'].mean():.4f} ± {part['width'].sem():.4f}"
        lines.append(
            f"| {option} | {m} | {cells[0]} | {cells[1]} | {float(at['evsi']):.3f} ± {float(at['evsi_mcse']):.3f} "
            f"| {width} | {float(at['error_width']):.4f} |"
        )
    lines += [
        "",
        "Which queries to label: {doc}`which_labels`.",
        "",
        f"Now that width is {worth.data.attrs['error_width_now']:.4f}. One nested refit took {rows['seconds'].mean():.1f} s of processor time.",
    ]
    print("\n".join(lines))
    run.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
