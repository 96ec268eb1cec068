"""Promises on resplit real logs: how often each is kept, and what it costs beside its rivals.

Run from the project's root: ``python -m studies.promises.run``, after ``python -m studies.common.resplits`` has made the
fits. Writes ``docs/evidence/promises.md``; what is measured for one split is kept in ``build/promises_*.csv``, and a run that
was stopped goes on from there. ``--parts rivals --seeds 5-9`` measures a part, so that several may run at once; the part
``page`` writes the page. Needs the logs in ``../shared/data``.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

import bayescascade as bc
from bayescascade.cascade.discrepancy import PROMISE_SPREADS
from studies.common import resplits as rs
from studies.common.command import Run, parse
from studies.common.logs import require_logs
from studies.common.resume import Rows
from studies.promises.measures import (
    COST_TARGETS,
    LTT,
    PICK,
    PROBS,
    SPLIT,
    SPREADS,
    TARGETS,
    TUNED,
    measure_ours,
    measure_rivals,
    measure_tune,
    targets_of,
)

MEASURES: dict[str, Callable[..., list[dict[str, Any]]]] = {"rivals": measure_rivals, "tune": measure_tune}
N_SIMULATED, LIMIT = 24, 0.25


def rows_of(run: Run, name: str) -> Rows:
    """What is measured of each split: of the rivals, or of `tune`."""
    return run.rows(("log", "k", "n", "seed"), f"promises_{name}")


def measure(run: Run, name: str) -> Rows:
    """Measure the splits that were not yet."""
    rows, cells = rows_of(run, name), list(rs.cells(run.seeds))
    for cell in rows.missing(cells[:1] if run.quick else cells):
        rows.add(cell, MEASURES[name](*cell))
        print(name, *cell, flush=True)
    return rows


def gather(run: Run) -> pd.DataFrame:
    """Everything measured, with the bound, whether it was kept, and the oracle's cost."""
    parts = [pd.DataFrame([row for cell in rs.cells(run.seeds) for row in measure_ours(*cell)])]
    for name in MEASURES:
        table = rows_of(run, name).table
        if len(table):
            parts.append(table[table["seed"].isin(run.seeds)])
    table = pd.concat(parts, ignore_index=True)
    of_cost = table["method"].str.startswith("cost")
    rows = zip(table["log"], table["k"], table["target"], of_cost, strict=True)
    table["bound"] = [targets_of(log, k)[int(c)][i] for log, k, i, c in rows]
    table["kept"] = np.where(of_cost, table["cost"], table["error"]) <= table["bound"] + 1e-12
    key = ["log", "k", "seed", "target"]
    oracle = table[table["method"] == "oracle"].set_index(key)["cost"]
    table["dear"] = table["cost"].values / oracle.reindex(pd.MultiIndex.from_frame(table[key])).values
    return table


def wilson(kept: pd.Series) -> str:
    """Share with a 90% Wilson interval."""
    if not len(kept):
        return "none made"
    low, high = binomtest(int(kept.sum()), len(kept)).proportion_ci(0.9, method="wilson")
    return f"{kept.mean():.0%} ({low:.0%} to {high:.0%})"


def shares(rows: pd.DataFrame) -> list[str]:
    """Promises made; kept of these, with the worst and the best log; broken of all splits."""
    made = rows[rows["feasible"]]
    by_log = made.groupby("log")["kept"].mean()
    spread = f"{by_log.min():.0%} to {by_log.max():.0%}" if len(by_log) else ""
    return [
        f"{len(made) / len(rows):.0%}",
        wilson(made["kept"]),
        spread,
        f"{(~made['kept']).sum() / len(rows):.0%}",
    ]


def geometric(ratio: np.ndarray) -> str:
    return f"{np.exp(np.mean(np.log(ratio))):.2f}" if len(ratio) else ""


def pick(table: pd.DataFrame, method: str, n: int, prob: float) -> pd.DataFrame:
    """Rows of a method at one n and level; a plug-in has no level and stands beside all."""
    return table[
        (table["method"] == method) & (table["n"] == n) & ((table["prob"] == prob) | table["prob"].isna())
    ]


def best_rival(table: pd.DataFrame, n: int, prob: float) -> str:
    """The form of LTT of least mean cost at this n and level, the last stage's where it certifies nothing."""
    return min(LTT, key=lambda method: np.log(pick(table, method, n, prob)["dear"]).mean())


def table_of(table: pd.DataFrame, prob: float, methods: tuple[str, ...]) -> str:
    """One row for each method and n."""
    lines = [
        "| method | n | promises made | kept, of those made | worst to best log | broken, of all splits | cost / oracle's | cost / best LTT's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        for n in rs.SIZES:
            rows = pick(table, method, n, prob)
            if not len(rows):
                continue
            made = rows[rows["feasible"]]
            other = pick(table, best_rival(table, n, prob), n, prob)
            both = made.merge(other[other["feasible"]], on=SPLIT, suffixes=("", "_of_rival"))
            ratio = geometric((both["cost"] / both["cost_of_rival"]).values)
            lines.append(
                f"| {method} | {n} | " + " | ".join([*shares(rows), geometric(made["dear"].values), ratio]) + " |"
            )
    return "\n".join(lines)


def kept_by(table: pd.DataFrame, prob: float, by: str, methods: tuple[str, ...]) -> str:
    """Share kept of the promises made at one level, by k or by log, and n."""
    groups = sorted(table[by].unique())
    head = [f"k = {g}" if by == "k" else g for g in groups]
    lines = ["| method | n | " + " | ".join(head) + " |", "|---" * (2 + len(groups)) + "|"]
    for method in methods:
        for n in rs.SIZES:
            here = pick(table, method, n, prob)
            here = here[here["feasible"]]
            cells = [here[here[by] == g]["kept"] for g in groups]
            lines.append(
                f"| {method} | {n} | "
                + " | ".join(f"{c.mean():.0%} of {len(c)}" if len(c) else "none" for c in cells)
                + " |"
            )
    return "\n".join(lines)


def chosen_elsewhere(table: pd.DataFrame) -> pd.DataFrame:
    """The picks of each log, with the least doubt that keeps as often as asked at every n on the other logs."""
    parts = []
    for prob in PROBS:
        for log in rs.LOGS:
            for spread in SPREADS:
                rows = table[(table["method"] == PICK.format(spread)) & (table["prob"] == prob)]
                others = rows[(rows["log"] != log) & rows["feasible"]]
                if (others.groupby("n")["kept"].mean() >= prob).all():
                    break
            parts.append(rows[rows["log"] == log].assign(method=ELSEWHERE, spread=spread))
    return pd.concat(parts)


DEFAULT = PROMISE_SPREADS[True]  # that of `tune` for a fit with a difficulty
ELSEWHERE = "pick, doubt from the other logs"
PICKS = (*map(PICK.format, SPREADS), ELSEWHERE, "own errors on the frontier")
PLUG_INS = ("plug-in, posterior mean", "plug-in, labelled rows")


def page(run: Run) -> str:
    """Everything, from what was measured."""
    table = gather(run)
    table = pd.concat([table, chosen_elsewhere(table)], ignore_index=True)
    spreads = table.groupby("prob")["spread"].unique()
    seeds = sorted(int(s) for s in table["seed"].unique())
    best = {prob: {n: best_rival(table, n, prob) for n in rs.SIZES} for prob in PROBS}

    def shares_of(method: str, prob: float) -> list[float]:
        return [pick(table, method, n, prob).query("feasible")["kept"].mean() for n in rs.SIZES]

    def words(method: str, probs: tuple[float, ...] = PROBS) -> str:
        return "; ".join(
            f"asked {prob:.0%}, kept " + " / ".join(f"{share:.1%}" for share in shares_of(method, prob))
            for prob in probs
        )

    def broken(method: str) -> str:
        parts = []
        for prob in PROBS:
            rows = [pick(table, method, n, prob) for n in rs.SIZES]
            of_all = [(x["feasible"] & ~x["kept"]).mean() for x in rows]
            parts.append(f"asked {prob:.0%}, broken " + " / ".join(f"{share:.1%}" for share in of_all))
        return "; ".join(parts)

    def oracle(method: str, prob: float) -> str:
        made = [pick(table, method, n, prob).query("feasible") for n in rs.SIZES]
        return " / ".join(geometric(rows["dear"].values) for rows in made)

    def costs(ours: str, prob: float) -> str:
        ratios = []
        for n in rs.SIZES:
            made, other = (
                pick(table, method, n, prob).query("feasible") for method in (ours, best_rival(table, n, prob))
            )
            both = made.merge(other, on=SPLIT, suffixes=("", "_of_rival"))
            ratios.append(geometric((both["cost"] / both["cost_of_rival"]).values))
        return " / ".join(ratios)

    everything = (TUNED, *PLUG_INS, *LTT, *PICKS)
    tables = "\n\n".join(f"### prob = {prob:g}\n\n{table_of(table, prob, everything)}" for prob in PROBS)
    tuned = len(table[table["method"] == TUNED].drop_duplicates(["log", "k", "n", "seed"]))
    of_tune = (
        f"`tune` itself, which also chooses the stages, on {tuned} splits, one bound each: {words(TUNED)}."
        if tuned
        else "`tune` also chooses which stages to run, and was not measured by itself."
    )
    held_out = [rs.pooled(x, 2).sizes["query"] - max(rs.SIZES) for x in rs.LOGS]
    default, by_model = PICK.format(DEFAULT), PICK.format(0.0)
    some = (*((TUNED,) if tuned else ()), default, *list(LTT)[:3], ELSEWHERE)
    met = all(share >= prob for prob in PROBS for share in shares_of(default, prob))
    return f"""# Promises on resplit real logs

Promised to a batch of queries, with the default safety margin and the cheapest of the frontier's {rs.N_POINTS} points that keeps the promise, at n = 50 / 100 / 200 labelled queries, {len(seeds)} seeds, of the promises made: {words(default)}.
{"That is at least as often as asked at every n and level" if met else "**That is not as often as asked everywhere**"}, over all logs and cascades together. By log it is uneven (below). {of_tune} Broken promises as a share of all splits, which is what learn-then-test bounds by 1 - prob: {broken(default)}.

The cost relative to the best variant of learn-then-test, chosen in hindsight, if both make the promise: {"; ".join(f"at {prob:.0%}, {costs(default, prob)}" for prob in PROBS)}. Beside the oracle's, prob 0.9: {oracle(default, 0.9)}. The published Markov copula, measured in the same way on twenty seeds at commit 934fb39 with
the margin that it needs, a prior sd of 100% of the error, took 1.66 / 1.52 / 1.42 times the oracle's.

**The safety margin.** The model alone keeps {words(by_model)}. The parameters are not the only unknown, and a search finds thresholds that look better than they are. So `tune` adds a safety margin for what the model misses (`discrepancy.py`): a normal
discrepancy with a prior sd of {DEFAULT:.0%} of the expected error (`doubt={DEFAULT:g}`), updated by the labelled queries' errors under the thresholds if these are worse than expected. The thresholds come from the frontier of the posterior mean. The promise must also hold
with the labelled queries' errors smoothed along the frontier.

The margin was chosen on these logs. With the least of {", ".join(f"{s:g}" for s in SPREADS)} that keeps as asked at every n on the four *other* logs ({"; ".join(f"{prob:g}: " + ", ".join(f"{s:g}" for s in sorted(x[~np.isnan(x)])) for prob, x in spreads.items())}): {words(ELSEWHERE)}.

## How it was measured

`mmlu` and `triviaqa` (chains llama and qwen_oai) and `medmcqa` (llama), train and test pooled and reshuffled by {len(seeds)} seeds ({seeds[0]} to {seeds[-1]});
n labelled queries, the same {min(held_out)} to {max(held_out)} held out for every n. Stages {rs.CASCADES}. Four bounds on the error, at {", ".join(f"{t:.0%}" for t in TARGETS)} of
the way from the last stage's error to the first's on the pooled log, so they do not depend on the split. Fits have the default options,
2 x 250 draws. *Kept* means that the error on the held-out queries is at most the bound. That error has binomial noise of its own (standard
deviation about 1 point). So even an exactly right long-run promise is kept a little less often than stated if prob is above one half. The batch
promise has the number of held-out queries as its m, so the held-out error judges it fairly.

{"* **tune**: the function itself. It may leave stages out, which the oracle and the other methods may not. The comparison of costs includes this advantage." if tuned else ""}
* **pick, doubt x**: the cheapest of {rs.N_POINTS} points of the fit's frontier that keeps the batch promise. It is quick to compute, so it was used to choose the margin.
* **own errors on the frontier**: the same points, judged by the labelled queries alone: the error is Beta(errors + 1/2, n - errors + 1/2).
* **plug-in**: cheapest with posterior mean error within the bound; cheapest whose error on the labelled rows is within the bound, by coordinate search.
* **LTT**: learn-then-test at the same level (`certifying.py`), exact binomial p-values. *Common threshold*: one threshold for all stages, tested on all n queries
  along that fixed path. *Learnt path*: Pareto testing, a frontier of calibrated confidences learnt from half or 30% of the queries, tested on the rest. *Grid*: up to 200 vectors
  with Bonferroni. Where "cost / best LTT's" is given, the best is the form of least mean cost at this n and level in hindsight ({"; ".join(f"{prob:g}: " + ", ".join(f"n = {n} {m.removeprefix('LTT, ')}" for n, m in of.items()) for prob, of in best.items())}), which favours LTT.
* **oracle**: cheapest thresholds whose error on the held-out queries is within the bound, by coordinate search on these queries.

*Promises made* is the share of split-and-bound pairs for which the method makes a promise (otherwise it says that none is possible). *Kept* is the share of these that were kept, with a 90% Wilson
interval. The interval treats splits as independent. But the three n and the three k of one log and seed share rows, so the real interval is about twice as wide.
The worst and best log are more informative. *Broken* is a share of all splits. LTT guarantees that it is at most 1 - prob. Costs are geometric means of ratios: to the oracle's cost over the
promises made, and to the best LTT's cost over the splits where both make a promise.

{tables}

## By number of stages, prob = 0.9: kept, of the promises made

{kept_by(table, 0.9, "k", some)}

## By log, prob = 0.9

{kept_by(table, 0.9, "log", some)}

## Logs from the model itself

{simulated_table(simulated_rows(run).table)}

## Promises about cost

P(cost <= bound) >= prob, with bounds at {" and ".join(f"{t:.0%}" for t in COST_TARGETS)} of the way from the first stage's cost to that of all, prob = 0.8, 0.9 and 0.95; picks from the frontier; the plug-in is the least
error whose posterior mean cost is within the bound.

{cost_table(table)}

Made by `python -m studies.common.resplits`, then `python -m studies.promises.run`. The logs are those of "Rational Tuning of LLM
Cascades via Probabilistic Modeling" (Zellinger & Thomson 2025, arXiv:2501.09345).
"""


def simulated_rows(run: Run) -> Rows:
    return run.rows(("seed",), "promises_simulated")


def simulated(run: Run) -> None:
    """Logs of 500 queries, 300 labelled, from the model itself; the truth is another log of 100,000."""
    truth, rows = bc.simulate(100_000, random_seed=999), simulated_rows(run)
    for (seed,) in rows.missing((seed,) for seed in range(1 if run.quick else N_SIMULATED)):
        log = bc.simulate(500, n_labelled=300, random_seed=seed)
        fit = bc.fit(log, draws=400, random_seed=seed, progressbar=False, log_likelihood=False)
        made = []
        for doubt in (0.0, DEFAULT):
            found = bc.tune(fit, max_error=LIMIT, doubt=doubt)
            error = float(bc.score(truth, found.thresholds)["error"])
            row = {"doubt": doubt, "feasible": bool(found.feasible), "error": error}
            made.append(row | {"cost": float(found.cost.mean())})
        rows.add((seed,), made)


def simulated_table(table: pd.DataFrame) -> str:
    if not len(table):
        return "Not measured with the present default."
    table["kept"] = table["error"] <= LIMIT
    cost = table[table["feasible"]].pivot(index="seed", columns="doubt", values="cost")
    lines = [
        f"{table['seed'].nunique()} logs of 500 queries, 300 labelled, three stages: error at most {LIMIT:g} in the long run with probability 0.9, kept on 100,000 queries.",
        "",
        "| doubt | promises made | kept, of those made | cost / that of doubt 0 |",
        "|---|---|---|---|",
    ]
    for doubt, rows in table.groupby("doubt"):
        made = rows[rows["feasible"]]
        ratio = geometric((cost[doubt] / cost[0.0]).dropna().values)
        lines.append(f"| {doubt:g} | {len(made)} of {len(rows)} | {made['kept'].mean():.0%} | {ratio} |")
    return "\n".join(lines)


def cost_table(table: pd.DataFrame) -> str:
    lines = [
        "| method | prob | n | promises made | kept, of those made | worst to best log | broken, of all |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, probs in (("cost, ours", PROBS), ("cost plug-in", (np.nan,))):
        for prob in probs:
            for n in rs.SIZES:
                rows = pick(table, method, n, prob)
                lines.append(
                    f"| {method} | {'' if np.isnan(prob) else prob} | {n} | " + " | ".join(shares(rows)) + " |"
                )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("promises", __doc__, argv, parts=(*MEASURES, "simulated", "page"), seeds=rs.SEEDS)
    require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    for part in MEASURES:
        if part in run.parts:
            rows = measure(run, part)
            if run.quick:
                print(rows.table)
    if "simulated" in run.parts:
        simulated(run)
    if "page" in run.parts and not run.quick:
        run.write(page(run))


if __name__ == "__main__":
    main()
