"""Two stages under a budget on real logs: our score against margin sampling and what others learn from text.

Run from the project's root: ``python -m studies.budget.run``, with the logs in ``../shared/data``. Writes
``docs/evidence/budget.md``; results go to ``build/budget.csv``, and a run that was stopped goes on from there.

Every pair of stages of every log with a train and a test split; learnt on all of ``train``, played on ``test`` in its order as
a stream, for 21 budgets from all-small to all-large, by ``answer_cost``. The measure is accuracy against what was spent, its
area divided by the cost range. A pair whose second stage costs less than 1.05 times the first is left out: there is no
budget between the two.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade.cascade.rules import Route
from bayescascade.rivals.base import Decisions
from bayescascade.rivals.routing.frugal import FrugalCascade
from bayescascade.rivals.routing.gains import PosteriorGain
from bayescascade.rivals.routing.routers import (
    FrugalGPT,
    HybridLLM,
    MarginSampling,
    RandomRouting,
    Routing,
    StreamDecisions,
)
from studies.common import logs
from studies.common.command import parse
from studies.common.logs import read_texts
from studies.common.metrics import budget_area, mixed_stream

LOGS = {name: log.n_stages for name, log in logs.LOGS.items() if log.has_test}
MIXED = ("mmlu.llama", "medmcqa.llama", "triviaqa.llama")
# of these pairs also: other cost ratios, and twice the data
CLOSER = {5: ((0, 4), (2, 3)), 4: ((0, 3),)}
RATIOS = (2, 10, 50)
METHODS: tuple[Any, ...] = (
    RandomRouting(),
    Routing(),
    HybridLLM(),
    FrugalGPT(),
    FrugalCascade(),
    FrugalGPT(confidence=True, name="frugalgpt_confidence"),
    MarginSampling(),
    PosteriorGain(),
)
NAMES = [method.name for method in METHODS]
PUBLISHED = ["random_routing", "routing", "hybrid_llm", "frugalgpt", "margin_sampling"]
N_RESAMPLES = 400


def priced(log: xr.Dataset, ratio: float) -> xr.Dataset:
    """The same log where the large model costs so many times the small one, for every query."""
    return log.assign(cost=xr.zeros_like(log["cost"]) + xr.DataArray([1.0, ratio], dims="stage"))


def resampled(played: Route, log: xr.Dataset, random_seed: int = 1) -> np.ndarray:
    """`budget_area` under resamples of the queries that were played (resample,), each query as it was answered."""
    n = log.sizes["query"]
    weights = np.random.default_rng(random_seed).multinomial(n, np.full(n, 1.0 / n), size=N_RESAMPLES) / n
    right, cost = (log[name].transpose("query", "stage").values for name in ("correct", "cost"))
    y = weights @ np.concatenate([played.loss(right).T, right], axis=1)
    mean = weights @ cost
    spent = np.einsum("bq,psq,bs->bp", weights, played.reach.astype(float), mean, optimize=True)
    small, large = mean.T
    out = []
    for i in range(N_RESAMPLES):
        at = np.append((spent[i] - small[i]) / (large[i] - small[i]), [0.0, 1.0])
        levels, inverse = np.unique(at, return_inverse=True)
        grid = np.unique(np.clip(levels, 0.0, 1.0))
        height = np.bincount(inverse, weights=y[i]) / np.bincount(inverse)
        out.append(np.trapezoid(np.interp(grid, levels, height), grid))
    return np.array(out)


def row(method: str, decisions: Decisions, test: xr.Dataset, seconds: float = np.nan) -> dict[str, Any]:
    """What one method comes to on one log."""
    start = time.perf_counter()
    played = decisions.decide(test)
    playing = time.perf_counter() - start
    given = np.nan
    if isinstance(decisions, StreamDecisions):
        given = budget_area(played, test, shares=decisions.shares)
    text = " ".join(f"{x:.5f}" for x in resampled(played, test))
    return {
        "method": method,
        "area": budget_area(played, test),
        "given": given,
        "learning": seconds,
        "playing": playing,
        "resampled": text,
    }


def always(scores: np.ndarray) -> Callable[[xr.Dataset], np.ndarray]:
    """Scores that are known, whatever the log."""
    return lambda two: scores


def learn(train: xr.Dataset) -> dict[str, tuple[Decisions, float]]:
    """Decisions of each method, and the seconds they took."""
    out = {}
    for method in METHODS:
        start = time.perf_counter()
        out[method.name] = method.fit(train, random_seed=1), time.perf_counter() - start
    return out


def one(train: xr.Dataset, test: xr.Dataset, *, closer: bool) -> list[dict[str, Any]]:
    """Rows of one pair: as it is and, for some, at other prices and with more to learn from."""
    learnt = learn(train)
    rows = [row(name, found, test, took) | {"setting": "as it is"} for name, (found, took) in learnt.items()]
    if not closer:
        return rows
    # scores know no costs; the search for a cascade does
    scored = {
        name: replace(found, score=always(found.score(test)))
        for name, (found, _) in learnt.items()
        if isinstance(found, StreamDecisions)
    }
    for ratio in RATIOS:
        dear, cascade = priced(test, ratio), FrugalCascade()
        searched = {cascade.name: cascade.fit(priced(train, ratio), random_seed=1)}
        again = {name: replace(found, costs=(1.0, float(ratio))) for name, found in scored.items()} | searched
        rows += [row(name, found, dear) | {"setting": f"ratio {ratio}"} for name, found in again.items()]
    n = train.sizes["query"]
    order = np.random.default_rng(1).permutation(test.sizes["query"])
    more, rest = test.isel(query=np.sort(order[:n])), test.isel(query=np.sort(order[n:]))
    more = more.assign_coords(query=more["query"] + 1_000_000)
    both = xr.concat([train, more], dim="query", join="override", combine_attrs="override")
    rows += [row(name, found, rest) | {"setting": "rest, train"} for name, (found, _) in learnt.items()]
    return rows + [row(name, found, rest) | {"setting": "rest, twice"} for name, (found, _) in learn(both).items()]


def load(name: str, split: str, pair: tuple[int, int]) -> xr.Dataset:
    """Two stages of a log, or of three in one stream, with prompts and answers."""
    if name == "mixed":
        return mixed_stream({log: read_texts(log, split, pair) for log in MIXED}, random_seed=1)
    return read_texts(name, split, pair)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not in the table yet, and write the summary."""
    run = parse("budget", __doc__, argv, logs=(*LOGS, "mixed"))
    logs.require_logs()
    cells = [(name, pair) for name in LOGS for pair in combinations(range(LOGS[name]), 2)]
    cells += [("mixed", pair) for pair in ((0, 4), (1, 4), (2, 3))]
    cells = [(name, pair) for name, pair in cells if name in run.logs]
    rows = run.rows(("log", "pair"))
    # the first pair of a log may cost the same
    for name, pair in cells[1:2] if run.quick else cells:
        label = "-".join(map(str, pair))
        if (name, label) in rows:
            continue
        start = time.perf_counter()
        train, test = (load(name, split, pair) for split in ("train", "test"))
        mean = train["cost"].mean("query").values
        if mean[1] < 1.05 * mean[0]:
            continue
        found = one(train, test, closer=name != "mixed" and pair in CLOSER[LOGS[name]])
        rows.add((name, label), found)
        as_is = {r["method"]: round(float(r["area"]), 4) for r in found if r["setting"] == "as it is"}
        print(name, label, f"{time.perf_counter() - start:.0f} s", as_is, flush=True)
    run.write(page(rows.table))


def samples(done: pd.DataFrame) -> np.ndarray:
    """Resampled areas (row, resample)."""
    return np.array([np.array(text.split(), dtype=float) for text in done["resampled"]])


def summary(done: pd.DataFrame, by: str, names: list[str] = NAMES) -> list[str]:
    """Mean areas by a column; in brackets how far from margin sampling, with a standard error over queries."""
    lines = [f"| {by} | pairs | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for value in dict.fromkeys(done[by]):
        part = done[done[by] == value]
        # by log: one log's pairs share their queries, and are resampled together
        mean, gap, variance = {}, {}, {}
        weights = part.groupby("log")["pair"].nunique() / part[["log", "pair"]].drop_duplicates().shape[0]
        for name in names:
            gaps = []
            for log in weights.index:
                here = part[part["log"] == log]
                own, other = (samples(here[here["method"] == which]) for which in (name, "margin_sampling"))
                gaps.append(weights[log] ** 2 * (own - other).mean(axis=0).var(ddof=1))
            mine = part[part["method"] == name].set_index(["log", "pair"])["area"]
            margin = part[part["method"] == "margin_sampling"].set_index(["log", "pair"])["area"]
            mean[name], gap[name], variance[name] = mine.mean(), (mine - margin).mean(), sum(gaps)
        cells = [
            f"{mean[x]:.4f}" + ("" if x == "margin_sampling" else f" ({gap[x]:+.4f} ± {variance[x] ** 0.5:.4f})")
            for x in names
        ]
        n = part[["log", "pair"]].drop_duplicates().shape[0]
        lines.append(f"| {value} | {n} | " + " | ".join(cells) + " |")
    return lines


def ranks(done: pd.DataFrame, names: list[str], value: str) -> dict[str, int]:
    """In how many settings each method is first or second."""
    table = done.pivot(index=["log", "pair"], columns="method", values=value)[names]
    return (table.rank(axis=1, ascending=False, method="min") <= 2).sum().to_dict()


def page(done: pd.DataFrame) -> str:
    """The summary."""
    as_is = done[done["setting"] == "as it is"]
    single, mixed = as_is[as_is["log"] != "mixed"], as_is[as_is["log"] == "mixed"]
    n = single[["log", "pair"]].drop_duplicates().shape[0]
    ours = [*PUBLISHED[:-1], "bayes_gain"]
    won, own, given = (
        ranks(single, names, value) for names, value in ((PUBLISHED, "area"), (ours, "area"), (PUBLISHED, "given"))
    )
    closer = done[done["setting"].str.startswith("ratio") | done["setting"].str.startswith("rest")]
    base = as_is.merge(closer[["log", "pair"]].drop_duplicates())
    seconds = as_is.groupby("method")[["learning", "playing"]].median().loc[NAMES]
    lines = [
        "# Two stages under a budget",
        "",
        f"`python -m studies.budget.run`: {n} pairs of stages of five logs, learnt on `train` (285 or 300 queries), run on `test` "
        "as a stream in its order, for 21 budgets from all-small to all-large. Area under accuracy against what was spent, over the "
        "cost range: higher is better. Pairs whose second stage costs less than 1.05 times the first are left out, because there is no budget "
        "between the two. In brackets: less margin sampling's, with a standard error over "
        f"{N_RESAMPLES} resamples of the test queries as they were answered, the same ones for all pairs of a log: they hold what was learnt, and the one draw of `random_routing`, as it is.",
        "",
        "All but `frugalgpt_cascade` play the same stream with the dynamic threshold and the two guards of Ramirez, Birch & Titov "
        "(arXiv:2405.02134), which starts at the tenth query. `routing`, `hybrid_llm` and `frugalgpt` learn by TF-IDF of words and word "
        "pairs with logistic regression, the penalty by cross-validation, in place of a fine-tuned language model; `frugalgpt` reads query "
        "and answer, `frugalgpt_confidence` the small model's confidence besides, which is not in the publication. `margin_sampling` takes "
        "the log's own confidence: the log-probability of the answer, or of P(True), in place of the first token's margin, which the logs "
        "do not hold. `bayes_gain` is the posterior mean of what the large model gains over the small one, given the small one's signal.",
        "",
        "## By log",
        "",
        *summary(single.assign(all="all"), "all"),
        "",
        *summary(single, "log"),
        "",
        f"Among the five published methods, first or second of {n} settings (published: margin sampling in 25 of 27): "
        + ", ".join(f"{name} {won[name]}" for name in PUBLISHED)
        + "; by the budget given in place of what was spent: "
        + ", ".join(f"{name} {given[name]}" for name in PUBLISHED)
        + ". With our score in margin sampling's place: "
        + ", ".join(f"{name} {own[name]}" for name in ours)
        + ".",
        "",
        "## Three benchmarks in one stream",
        "",
        "mmlu, medmcqa and triviaqa of the llama chain, in random order; the pairs 0-4, 1-4 and 2-3. Their confidences are of two kinds, so all become probabilities. "
        "`bayes_gain` knows which task a query is of and pools the tasks; the other methods see texts and raw confidences.",
        "",
        *summary(mixed.assign(all="mixed"), "all"),
        "",
        "## Other prices",
        "",
        "The large model's price over the small one's, in place of the logged costs; the pairs 0-4 and 2-3 of each llama log, 0-3 of the others.",
        "",
        *summary(
            pd.concat([base.assign(setting="as logged"), closer[closer["setting"].str.startswith("ratio")]]),
            "setting",
        ),
        "",
        "## Twice as many training queries",
        "",
        "As many test queries again are learnt from, and all methods are played on the rest of `test`, in both rows; the same pairs.",
        "",
        *summary(closer[closer["setting"].str.startswith("rest")], "setting"),
        "",
        "## By pair",
        "",
        "| log | pair | " + " | ".join(NAMES) + " |",
        "|---" * (len(NAMES) + 2) + "|",
    ]
    for (log, pair), part in as_is.groupby(["log", "pair"], sort=False):
        areas = part.set_index("method")["area"]
        lines.append(f"| {log} | {pair} | " + " | ".join(f"{areas[name]:.4f}" for name in NAMES) + " |")
    lines += [
        "",
        "## Seconds",
        "",
        "| method | to learn | to play 21 budgets (median over pairs) |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {seconds['learning'][name]:.2f} | {seconds['playing'][name]:.2f} |" for name in NAMES]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
