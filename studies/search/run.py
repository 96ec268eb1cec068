"""How good `tune`'s thresholds are, beside those of the SLSQP search that it had before, on seven real logs.

Run from the project's root, with the real logs in place: ``python -m studies.search.run``. Writes
``docs/evidence/search.md``. Answers go to ``build/search.csv`` as they come, and a run that was stopped goes on from
there; fits are kept in ``build/search``. SLSQP's answers, ``build/search_slsqp.csv``, are of the same goals and fits,
measured in the same way at commit 7b4d4e7, the last one with that search; without them there is no page.
"""

import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.induction.backward_induction import optimal_loss
from bayescascade.posterior.draws import get_draws
from studies.common import logs
from studies.common.command import Run, parse
from studies.common.resume import Rows

THREE = (0, 1, 3)
BATCH = 500
KEYS = ("log", "stages", "kind", "goal")


def fit_of(log: str, folder: Path) -> xr.DataTree:
    """The fit of a log with all of its stages, made once."""
    path = folder / f"{log}.nc"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fit = bc.fit(logs.read(log, "train"), draws=500, chains=2, random_seed=1, progressbar=False)
        bc.save_fit(fit, path)
    return bc.load_fit(path)


def rounded(x: float) -> float:
    return float(f"{x:.3g}")


def goals_of(fit: xr.DataTree, stages: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Named goals whose prices and bounds bind along the frontier."""
    curve = bc.frontier(fit, n_points=60, stages=stages)
    high, cost = curve["error_high"].values, curve["cost"].values
    best = int(high.argmin())

    def error_at(share: float) -> float:
        return rounded(high[best] + share * (high[0] - high[best]))

    def cost_at(share: float) -> float:
        return rounded(cost[0] + share * (cost[best] - cost[0]))

    at = np.abs(cost[: best + 1] - cost_at(0.5)).argmin()
    price = [rounded(float(curve["price"][i])) for i in (max(at // 2, 1), at, (at + best) // 2)]
    abstain = rounded(0.3 * price[1])
    error, batch = {"max_error": error_at(0.4)}, {"batch": BATCH}
    both = {"max_error": error_at(0.5), "max_cost": cost_at(0.7)}
    found: list[tuple[str, dict[str, Any]]] = [
        ("error_price", {"error_price": price[1]}),
        ("error_price, cvar", {"error_price": price[2], "risk": "cvar"}),
        ("error_price, regret", {"error_price": price[2], "risk": "regret"}),
        ("error_price, abstain_price", {"error_price": price[1], "abstain_price": abstain}),
        *(("max_error", {"max_error": error_at(share)}) for share in (0.1, 0.4)),
        ("max_error, cvar", {**error, "risk": "cvar"}),
        ("max_error, batch", {**error, **batch}),
        ("max_error, abstain_price", {**error, "abstain_price": abstain}),
        ("max_cost", {"max_cost": cost_at(0.4)}),
        ("max_cost, batch", {"max_cost": cost_at(0.5), **batch}),
        ("error_price, max_cost", {"error_price": price[2], "max_cost": cost_at(0.4)}),
        ("max_error, max_cost", both),
        ("error_price, max_error, max_cost", {**both, "error_price": price[1]}),
    ]
    latency = curve_latency(fit, curve)
    if latency is not None:
        bound = rounded(latency[0] + 0.5 * (latency[best] - latency[0]))
        found += [("max_latency", {"max_latency": bound})]
        found += [("max_error, max_latency", {"max_error": error_at(0.5), "max_latency": bound})]
        worth = rounded(0.3 * (cost[best] - cost[0]) / abs(latency[best] - latency[0]))
        found += [("error_price, latency_price", {"error_price": price[1], "latency_price": worth})]
    return found


def curve_latency(fit: xr.DataTree, curve: xr.Dataset) -> np.ndarray | None:
    """Mean latency along a frontier, where it is known."""
    found = bc.evaluate(fit, curve["threshold"])
    return found["latency"].mean(("chain", "draw")).values if "latency" in found else None


def risk_of(fit: xr.DataTree, solution: Any, goal: dict[str, Any]) -> float:
    """What the goal minimises, on all draws."""
    if "error_price" not in goal and "max_error" not in goal:
        return float(solution.error.mean())
    parts = [("error_price", "error"), ("latency_price", "latency"), ("abstain_price", "abstained")]
    loss = solution.cost.values + sum(goal[k] * getattr(solution, name).values for k, name in parts if k in goal)
    loss = loss.ravel()
    if goal.get("risk") == "regret":
        stages = [str(name) for name in solution.thresholds["stage"].values]
        draws = get_draws(fit)
        loss = loss - optimal_loss(draws.restrict([draws.stages.index(s) for s in stages]), goal["error_price"])
    return float(np.sort(loss)[-round(0.1 * len(loss)) :].mean() if "risk" in goal else loss.mean())


def measure(run: Run, rows: Rows) -> None:
    """Tune for every goal on every log, on all stages and on three of them."""
    for log, three in [(log, three) for three in (False, True) for log in run.logs]:
        fit = fit_of(log, run.build / "search")
        names = get_draws(fit).stages
        stages = [names[j] for j in THREE] if three else names
        goals = goals_of(fit, stages)[: 1 if run.quick else None]
        for log_, n, kind, text in rows.missing(
            (log, len(stages), kind, json.dumps(goal)) for kind, goal in goals
        ):
            goal = json.loads(text)
            start = time.perf_counter()
            found = bc.tune(fit, **goal, stages=stages, doubt=0.0)
            took = time.perf_counter() - start
            scale = float(found.cost.mean() + goal.get("error_price", 0.0) * found.error.mean())
            row = {"took": took, "feasible": found.feasible, "risk": risk_of(fit, found, goal), "scale": scale}
            rows.add((log_, n, kind, text), [row])


def said(table: pd.DataFrame) -> list[str]:
    """Rows of the comparison, one for each kind of goal."""
    out = []
    for kind, part in table.groupby("kind", sort=False):
        both = part[part["feasible"] & part["feasible_old"]]
        # regret may be next to nothing
        scale = both["scale_old"] if "regret" in str(kind) else both["risk_old"]
        gap = 100 * (both["risk"] - both["risk_old"]) / scale
        only = [
            int((part[a] & ~part[b]).sum())
            for a, b in (("feasible", "feasible_old"), ("feasible_old", "feasible"))
        ]
        took = " | ".join(f"{part[name].median():.2f}" for name in ("took_old", "took"))
        out.append(
            f"| {kind} | {len(part)} | {gap.mean():+.3f} | {gap.max():+.3f} | {gap.min():+.3f} | "
            f"{only[0]} / {only[1]} | {took} |"
        )
    return out


def page(table: pd.DataFrame) -> str:
    """The page, from the answers of both searches."""
    lines = [
        "# The search for thresholds",
        "",
        f"`python -m studies.search.run`: thresholds of `tune` with `doubt=0` on {table['log'].nunique()} real "
        f"logs of 300 queries, on all stages and on three of them, {len(table)} cases. Each fit has 1000 draws. Two methods are compared, each evaluated on "
        "all draws by what the goal minimises: SLSQP on 300 draws with analytic gradients, measured at commit "
        "7b4d4e7, the last one that had it, and the frontier's best point, refined by steps.",
        "",
        "The gap is what the steps lose to SLSQP, as a share of the loss (of the cost or the error, if only that is "
        "minimised; for regret, of the whole loss): negative if they do better. Promises kept by only one of the two are counted "
        "and left out of the gap.",
        "",
        "| goal | cases | mean gap (%) | worst (%) | best (%) | kept by steps only / SLSQP only | SLSQP, median s | steps, median s |",
        "|---|---|---|---|---|---|---|---|",
        *said(table),
        "",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("search", __doc__, argv, logs=logs.LOGS)
    logs.require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    if run.quick:
        run = replace(run, logs=run.logs[:1])
    rows, old = run.rows(KEYS), run.rows(KEYS, "search_slsqp")
    measure(run, rows)
    if run.quick:
        old = rows  # beside itself: no gap
    if not old.path.is_file():
        sys.exit(f"{old.path} is not there, so there is nothing to compare with and no page was written")
    both = rows.table.set_index(list(KEYS)).join(old.table.set_index(list(KEYS)).add_suffix("_old"), how="inner")
    run.write(page(both.reset_index()))


if __name__ == "__main__":
    main()
