"""Backtest of decisions by history on real logs: do they beat thresholds on a stage's own confidence?

Run from the project's root: ``.venv/bin/python docs/evidence/history.py``, with the logs in ``../shared/data``. Writes
``docs/evidence/history.md``; results by cascade go to ``build/history.csv``, and a run that was stopped goes on from there.

The protocol is that of the logs' README: fit on all of ``train``, take 50 frontier points, score them on ``test``, area under
error against cost by ``answer_cost``. Three rules: P(correct) given a stage's confidence and the one before, by a sequential
fit; own confidence, by the same fit; own confidence, by a logistic fit. Where the last stages err more than earlier ones, the
second half of a frontier only leads on to "always the last stage", in no order that matters to anybody; so the area is also
taken over the efficient points alone, those that the fit itself would choose for some price.
"""

import sys
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from protocol import area, read

import bayescascade as bc
from bayescascade.history import history_frontier
from bayescascade.scoring import read_rules, walk

OUT, ROWS = Path(__file__).with_suffix(".md"), Path("build/history.csv")
LLAMA = ([0, 1, 2], [0, 2, 4], [1, 3, 4], [0, 1, 4], [0, 1, 2, 3], [1, 2, 3, 4], [0, 2, 3, 4], [0, 1, 2, 3, 4])
QWEN = ([0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3], [0, 1, 2, 3])
LOGS = [
    ("mmlu", "llama", "logprob", LLAMA),
    ("medmcqa", "llama", "logprob", LLAMA),
    ("triviaqa", "llama", "p_true", LLAMA),
    ("mmlu", "qwen_oai", "logprob", QWEN),
]
RULES = ("history", "own, sequential", "own, logistic")
POINTS = ("all", "efficient")
N_POINTS, N_RESAMPLES = 50, 400
# what the logs' README says there is to gain with the calibration known, by the number of stages
LIMIT = {3: 0.004, 4: 0.007, 5: 0.009}


def frontiers(train: xr.Dataset) -> dict[str, xr.Dataset]:
    """The frontier of each rule."""
    how = {"draws": 250, "chains": 4, "random_seed": 1, "progressbar": False}
    sequential = bc.fit(train, calibration="sequential", **how)
    plain = bc.fit(train, calibration="logistic", **how)
    found = (
        history_frontier(sequential, n_points=N_POINTS),
        *(bc.frontier(f, n_points=N_POINTS) for f in (sequential, plain)),
    )
    return dict(zip(RULES, found, strict=True))


def areas(curve: xr.Dataset, test: xr.Dataset, weights: np.ndarray) -> np.ndarray:
    """Area on a held-out log under weights of its queries (resample, query), as the protocol has it."""
    stages, kind = [str(s) for s in test["stage"].values], str(test.attrs["confidence_kind"])
    rules = read_rules(curve["threshold"], stages, kind)
    confidence, correct, cost = (
        test[name].transpose("query", "stage").values for name in ("confidence", "correct", "cost")
    )
    walks = [walk(confidence, rules, point, kind) for point in range(len(rules.thresholds))]
    wrong = np.stack([(w.accepted & (correct < 0.5)).any(axis=1) for w in walks], axis=1)
    ran = np.stack([w.ran for w in walks], axis=1)
    error, mean, alone = weights @ wrong, weights @ cost, 1.0 - weights @ correct
    spent = np.einsum("bq,qpj,bj->bp", weights, ran, mean, optimize=True)
    return np.array([area(*each) for each in zip(error, spent, mean, alone, strict=True)])


def one(train: xr.Dataset, test: xr.Dataset) -> list[dict[str, object]]:
    """Areas of every rule on one cascade: as scored, resampled, and as the model expects them."""
    n = test.sizes["query"]
    # the same resamples of a benchmark's queries for all of its cascades
    counts = np.random.default_rng(1).multinomial(n, np.full(n, 1.0 / n), size=N_RESAMPLES)
    weights = np.concatenate([np.ones((1, n)), counts]) / n
    rows = []
    for (rule, curve), points in product(frontiers(train).items(), POINTS):
        part = curve if points == "all" else curve.isel(point=np.flatnonzero(curve["efficient"]))
        found = areas(part, test, weights)
        # on to the last stage, as the protocol has it
        error, cost = (np.append(part[name], curve[name][-1]) for name in ("error", "cost"))
        expected = np.trapezoid(error, cost) / (cost[-1] - cost[0])
        resampled = " ".join(f"{x:.6f}" for x in found[1:])
        rows.append(
            {"rule": rule, "points": points, "auc": found[0], "expected": expected, "resampled": resampled}
        )
    return rows


def main() -> None:
    """Run what is not in the table yet, and write the summary."""
    if not (Path(__file__).parents[3] / "shared" / "data").is_dir():
        sys.exit("the real logs are not in ../shared/data; this script needs them")
    warnings.simplefilter("ignore", bc.CascadeWarning)
    ROWS.parent.mkdir(exist_ok=True)
    done = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["log", "stages"])
    for name, chain, kind, cascades in LOGS:
        for stages in cascades:
            log, label = f"{name} {chain}", "-".join(map(str, stages))
            if ((done["log"] == log) & (done["stages"] == label)).any():
                continue
            start = time.perf_counter()
            train, test = (read(name, chain, kind, split, stages) for split in ("train", "test"))
            table = pd.DataFrame(one(train, test)).assign(log=log, stages=label, k=len(stages))
            done = pd.concat([done, table]) if len(done) else table
            done.to_csv(ROWS, index=False)
            print(log, label, f"{time.perf_counter() - start:.0f} s", table["auc"].round(4).tolist(), flush=True)
    write(done)


def write(done: pd.DataFrame) -> None:
    """The summary as a page."""
    n = done[["log", "stages"]].drop_duplicates().shape[0]
    lines = [
        "# Decisions by history, a backtest",
        "",
        f"`.venv/bin/python docs/evidence/history.py`: {n} cascades, each fitted on all of `train` with 4 x 250 draws, once with the "
        "sequential calibration and once with the logistic one. Area under error against cost on `test` for the 50 points of a "
        "frontier (lower is better). *History*: accept when P(correct), given a stage's confidence and the one before, reaches the "
        "stage's threshold. *Own*: accept when the stage's own confidence does.",
        "",
        "Differences are relative, history less own (below 0: history is better). The first standard error is over cascades; the "
        f"second over {N_RESAMPLES} resamples of the test queries, the same ones for all cascades of a benchmark, since these share "
        "their queries. *Expected* is what the sequential fit itself expects of history less own. *Limit* is the gain with the "
        "calibration known, from the logs' README.",
        "",
    ]
    for points, title in zip(POINTS, ("all points", "efficient points only"), strict=True):
        lines += [f"## By benchmark and length: {title}", "", *summary(done[done["points"] == points]), ""]
    lines += ["## By cascade: efficient points only", "", *by_cascade(done[done["points"] == "efficient"]), ""]
    OUT.write_text("\n".join(lines), encoding="utf-8")


def summary(done: pd.DataFrame) -> list[str]:
    """Means over cascades."""
    mean, expected = (
        done.pivot(index=["log", "stages", "k"], columns="rule", values=name) for name in ("auc", "expected")
    )
    resampled = done.set_index(["log", "stages", "k", "rule"])["resampled"].map(
        lambda text: np.array(text.split(), float)
    )
    lines = [
        "| cascades | | history | own, same fit | own, logistic fit | history - own, same fit | history - own, logistic | expected | limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    k, log = mean.index.get_level_values("k"), mean.index.get_level_values("log")
    groups = [("all", np.ones(len(mean), bool)), *((f"k = {n}", k == n) for n in sorted(set(k)))]
    groups += [(name, log == name) for name in dict.fromkeys(log)]
    for name, rows in groups:
        part, names = mean[rows], mean.index[rows]
        cells = [f"{part[rule].mean():.4f}" for rule in RULES]
        cells += [relative(part, resampled, names, rule) for rule in RULES[1:]]
        hope = (expected[rows][RULES[0]] / expected[rows][RULES[1]] - 1.0).mean()
        limit = np.mean([LIMIT[n] for n in k[rows]])
        lines.append(f"| {name} | {rows.sum()} | {' | '.join(cells)} | {hope:+.2%} | {-limit:.2%} |")
    return lines


def by_cascade(done: pd.DataFrame) -> list[str]:
    """One row for each cascade."""
    mean, expected = (
        done.pivot(index=["log", "stages"], columns="rule", values=name) for name in ("auc", "expected")
    )
    lines = [
        "| log | stages | history | own, same fit | own, logistic fit | expected |",
        "|---|---|---|---|---|---|",
    ]
    for key, row in mean.iterrows():
        hope = expected.loc[key, RULES[0]] / expected.loc[key, RULES[1]] - 1.0
        cells = [f"{row[rule]:.4f} ({row[RULES[0]] / row[rule] - 1.0:+.2%})" for rule in RULES[1:]]
        lines.append(f"| {key[0]} | {key[1]} | {row[RULES[0]]:.4f} | {' | '.join(cells)} | {hope:+.2%} |")
    return lines


def relative(part: pd.DataFrame, resampled: pd.Series, names: pd.Index, rule: str) -> str:
    """Mean relative difference of history from another rule, with both standard errors."""
    gap = part[RULES[0]] / part[rule] - 1.0
    by_log = {}
    for key in names:
        by_log.setdefault(key[0], []).append(resampled[(*key, RULES[0])] / resampled[(*key, rule)] - 1.0)
    # resamples of different benchmarks have nothing to do with each other
    spread = sum(np.sum(gaps, axis=0).var(ddof=1) for gaps in by_log.values()) ** 0.5 / len(names)
    over = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.nan
    return f"{gap.mean():+.2%} ± {over:.2%} ± {spread:.2%}"


if __name__ == "__main__":
    main()
