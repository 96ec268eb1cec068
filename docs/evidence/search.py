"""How good `tune`'s thresholds are, beside those of the SLSQP search that it had before, on seven real logs.

Run from the project's root, with the real logs in place: ``.venv/bin/python docs/evidence/search.py NAME`` tunes
for every goal and keeps what comes in ``build/search/NAME.jsonl``. With two such files, ``search.py OLD NEW``
writes ``docs/evidence/search.md``. OLD is written by this script in a checkout of commit 7b4d4e7, the last one
with the SLSQP search, given the same fits (``build/search/*.nc``, made on first use).
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from protocol import DATA

import bayescascade as bc
from bayescascade.induction.backward_induction import optimal_loss
from bayescascade.posterior.draws import get_draws

OUT, CACHE = Path(__file__).with_suffix(".md"), Path("build/search")
KINDS = {"mmlu": "logprob", "medmcqa": "logprob", "triviaqa": "p_true", "gsm8k": "p_true"}
THREE = (0, 1, 3)
BATCH = 500


def fit_of(log: str) -> xr.DataTree:
    """The fit of a log with all of its stages, made once."""
    path = CACHE / f"{log}.nc"
    if not path.exists():
        kind = KINDS[log.split(".")[0]]
        data = bc.read_log(DATA / f"{log}.train.parquet", confidence_kind=kind, cost="answer_cost")
        bc.save_fit(bc.fit(data, draws=500, chains=2, random_seed=1, progressbar=False), path)
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
    """What the goal asks to be least, on all draws."""
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


def measure(name: str) -> None:
    """Tune for every goal on every log, and keep each answer as a line of JSON."""
    logs = sorted(path.name.removesuffix(".train.parquet") for path in DATA.glob("*.train.parquet"))
    with (CACHE / f"{name}.jsonl").open("w") as file:
        for log, three in [(log, three) for three in (False, True) for log in logs]:
            fit = fit_of(log)
            names = get_draws(fit).stages
            stages = [names[j] for j in THREE] if three else names
            for kind, goal in goals_of(fit, stages):
                start = time.perf_counter()
                found = bc.tune(fit, **goal, stages=stages, doubt=0.0)
                row = {"log": log, "stages": len(stages), "kind": kind, "goal": goal}
                row |= {"took": time.perf_counter() - start, "feasible": found.feasible}
                scale = float(found.cost.mean() + goal.get("error_price", 0.0) * found.error.mean())
                row |= {"risk": risk_of(fit, found, goal), "scale": scale}
                file.write(json.dumps(row) + "\n")
                file.flush()


def read(name: str) -> pd.DataFrame:
    """The answers that were kept under a name, by log, stages and goal."""
    table = pd.read_json(CACHE / f"{name}.jsonl", lines=True)
    table["goal"] = [json.dumps(goal) for goal in table["goal"]]
    return table.set_index(["log", "stages", "kind", "goal"])


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


def write(old: str, new: str) -> None:
    """The page, from the answers of two runs."""
    table = read(new).join(read(old).add_suffix("_old"), how="inner").reset_index()
    lines = [
        "# The search for thresholds",
        "",
        f"`.venv/bin/python docs/evidence/search.py`: thresholds of `tune` with `doubt=0` on {table['log'].nunique()} real "
        f"logs of 300 queries, on all stages and on three of them, {len(table)} cases. Each fit has 1000 draws. Two methods, each valued on "
        "all draws by what the goal asks to be least: SLSQP on 300 draws with analytic gradients, as until commit "
        "7b4d4e7, and the frontier's best point, refined by steps.",
        "",
        "The gap is what the steps lose to SLSQP, as a share of the loss (of the cost or the error, where only that is "
        "minimised; for regret, of the whole loss): negative where they do better. Promises kept by only one of the two are counted "
        "and left out of the gap.",
        "",
        "| goal | cases | mean gap (%) | worst (%) | best (%) | kept by steps only / SLSQP only | SLSQP, median s | steps, median s |",
        "|---|---|---|---|---|---|---|---|",
        *said(table),
        "",
        "Times were taken on a busy machine, both methods side by side.",
    ]
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore", bc.CascadeWarning)
    if len(sys.argv) > 2:
        write(*sys.argv[1:])
    else:
        measure(sys.argv[1])
