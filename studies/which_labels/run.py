"""Which queries to label: those on which posterior draws disagree, beside a random sample.

Run from the project's root: ``python -m studies.which_labels.run``. Writes ``docs/evidence/which_labels.md``; what is
measured goes to ``build/which_labels.csv`` as it comes, and a run that was stopped goes on from there.

A log of a known world has a few labels. Each rule picks further queries, by their confidences only, so that what is
not labelled is missing at random. Their labels come from the world, the model is fitted again, and thresholds are
tuned for a price of errors. What they lose is counted on a long log of the same world, so rules differ by nothing but
the queries that they picked.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.analysis.refits import unlabelled
from bayescascade.cascade.positions import to_thresholds
from bayescascade.induction.backward_induction import induce
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.kernel import mean_kernel
from studies.common.command import parse

PRICE, QUERIES, LABELLED, MORE = 0.02, 600, 40, 40
LONG = 400_000
RULES = ("random", "disagreement", "most disagreement")
N_DRAWS = 64
HOW: dict[str, Any] = {
    "draws": 300,
    "tune": 150,
    "chains": 2,
    "cores": 1,
    "difficulty": False,
    "progressbar": False,
    "log_likelihood": False,
}


def world(seed: int, n: int, number: int) -> xr.Dataset:
    """A log of a world whose stages differ with the seed; ``number`` tells logs of one world apart."""
    rng = np.random.default_rng([seed, 1])
    return bc.simulate(
        n,
        n_stages=3,
        tau=float(rng.uniform(0.2, 0.6)),
        intercept=(np.cumsum(rng.uniform(0.3, 1.2, 3)) - 0.6).tolist(),
        slope=rng.uniform(0.7, 1.8, 3).tolist(),
        random_seed=int(np.random.default_rng([seed, number]).integers(2**31)),
    )


def disagreement(fit: xr.DataTree, log: xr.Dataset) -> np.ndarray:
    """How often two posterior draws send a query to different stages, each by its own best thresholds (query,)."""
    draws = get_draws(fit).thin(N_DRAWS)
    own = [induce(mean_kernel(draws.take(slice(i, i + 1))), np.array([PRICE]))[0] for i in range(draws.n)]
    thresholds = to_thresholds(np.array(own), draws)
    confidence = log["confidence"].transpose("query", "stage").values
    ends = np.stack([answering(confidence, row) for row in thresholds])
    shares = np.stack([(ends == j).mean(axis=0) for j in range(confidence.shape[1])])
    return np.asarray(1.0 - (shares**2).sum(axis=0))


def answering(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The stage that answers each query (query,)."""
    accepts = confidence >= thresholds
    accepts[:, -1] = True
    return np.argmax(accepts, axis=1)


def pick(rule: str, free: np.ndarray, apart: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of the queries that a rule labels, out of those that are free."""
    if rule == "random":
        return rng.permutation(free)[:MORE]
    if rule == "disagreement":  # one in five by chance, so that every query may come
        weight = 0.8 * apart[free] / max(apart[free].sum(), 1e-12) + 0.2 / len(free)
        return rng.choice(free, MORE, replace=False, p=weight / weight.sum())
    return free[np.argsort(-apart[free] + 1e-9 * rng.uniform(size=len(free)))][:MORE]


def measure(seed: int) -> list[dict[str, Any]]:
    """One world: the fit before, and after the labels that each rule picks."""
    log, test = world(seed, QUERIES, 2), world(seed, LONG, 3)
    rng = np.random.default_rng([seed, 4])
    known = rng.permutation(QUERIES)[:LABELLED]
    right = log["correct"].transpose("query", "stage").values

    def labelled(queries: np.ndarray) -> xr.Dataset:
        kept = np.isin(np.arange(QUERIES), queries)[:, None]
        return log.assign(correct=(("query", "stage"), np.where(kept, right, np.nan)))

    before = bc.fit(labelled(known), random_seed=seed, **HOW)
    start = time.process_time()
    apart = disagreement(before, log)
    seconds = time.process_time() - start
    free = unlabelled(labelled(known), list(range(right.shape[1])))
    at = bc.tune(before, error_price=PRICE, stages=list(log["stage"].values))
    rows = [{"rule": "none", "seconds": seconds} | outcome(before, at, at, test)]
    for rule in RULES:
        chosen = pick(rule, free, apart, np.random.default_rng([seed, 5]))
        after = bc.fit(labelled(np.concatenate([known, chosen])), random_seed=seed, **HOW)
        solution = bc.tune(after, error_price=PRICE, stages=list(log["stage"].values))
        rows.append({"rule": rule, "seconds": 0.0} | outcome(after, solution, at, test))
    return rows


def outcome(fit: xr.DataTree, solution: Any, at: Any, test: xr.Dataset) -> dict[str, float]:
    """Loss on a long log at the thresholds, and what the fit says of the thresholds of before."""
    error, cost = walk(solution.thresholds.values, test)
    told = bc.evaluate(fit, at.thresholds)["error"].values.ravel()
    low, high = np.quantile(told, (0.05, 0.95))
    true, _ = walk(at.thresholds.values, test)
    return {
        "loss": error * PRICE + cost,
        "width": float(high - low),
        "off": float(told.mean() - true),
        "covered": float(low <= true <= high),
    }


def walk(thresholds: np.ndarray, log: xr.Dataset) -> tuple[float, float]:
    """Error and cost per query of a log whose stages were all run and labelled."""
    confidence, right, cost = (
        log[name].transpose("query", "stage").values for name in ("confidence", "correct", "cost")
    )
    end = answering(confidence, thresholds)
    rows = np.arange(len(end))
    return float(1.0 - right[rows, end].mean()), float(np.cumsum(cost.mean(axis=0))[end].mean())


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("which_labels", __doc__, argv, replications=47)
    n = 2 if run.quick else run.replications
    rows = run.rows(("seed", "rule"), text=("rule",))
    for seed in range(n):
        if list(rows.missing([(seed, "none")])):
            for row in measure(seed):
                rows.add((seed, row.pop("rule")), [row])
    table = rows.table[rows.table["seed"] < n].set_index(["seed", "rule"]).unstack("rule")
    lines = report(table, n)
    print("\n".join(lines))
    run.write("\n".join(lines) + "\n")


def report(table: pd.DataFrame, n: int) -> list[str]:
    """The page."""
    loss, width = 1000.0 * table["loss"], table["width"]
    off, covered = table["off"], table["covered"]
    random = loss["none"] - loss["random"]
    lines = [
        "# Which queries to label",
        "",
        f"`python -m studies.which_labels.run --replications {n}`: {n} simulated worlds of three stages, {QUERIES} queries, {LABELLED} of",
        f"them labelled. Each rule picks {MORE} more by confidence, the model is fitted again (`difficulty=False`), and thresholds are tuned where",
        f"an error costs {PRICE:g}. What they lose is counted on {LONG:,} queries of the same world. ± is one standard error of the mean",
        "over the worlds.",
        "",
        "*Disagreement* is how often two of 64 posterior draws send a query to different stages, each by its own best thresholds. So it is",
        "high near the thresholds that are best. One rule draws queries with a probability in proportion to it, mixed with one fifth of a",
        "random sample. The other takes the queries with the most disagreement.",
        "",
        "| rule | loss per 1,000 queries | beside random | width of the error's 90% interval | beside random | error expected, less the true one | interval holds it |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in ("none", *RULES):
        lines.append(
            f"| {'no more labels' if rule == 'none' else rule} | {loss[rule].mean():.3f} | {_gap(loss, rule, 3)} | "
            f"{width[rule].mean():.4f} | {_gap(width, rule, 4)} | {off[rule].mean():+.4f} ± {off[rule].sem():.4f} | "
            f"{covered[rule].mean():.0%} |"
        )
    gap = loss["disagreement"] - loss["random"]
    better = gap.mean() < -1.645 * gap.sem()
    lines += [
        "",
        f"The labels of a random sample save {random.mean():.3f} ± {random.sem():.3f}. "
        + (
            "Drawing by disagreement saves more."
            if better
            else "This many worlds do not show that drawing by disagreement saves more."
        )
        + " `bayescascade labels -o` draws a random sample, for which the safety margin needs no further weights",
        "({doc}`../deciding`).",
    ]
    return lines


def _gap(values: pd.DataFrame, rule: str, digits: int) -> str:
    """How a rule differs from a random sample, world by world."""
    if rule == "random":
        return ""
    gap = values[rule] - values["random"]
    return f"{gap.mean():+.{digits}f} ± {gap.sem():.{digits}f}"


if __name__ == "__main__":
    main()
