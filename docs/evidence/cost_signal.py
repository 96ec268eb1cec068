"""Does a cost that depends on the signal (``cost="signal"``) tell held-out costs better, or decide better?

Run from the project's root: ``.venv/bin/python docs/evidence/cost_signal.py``, with the logs in ``../shared/data``. Writes
``docs/evidence/cost_signal.md``. All stages of every log, 2 x 300 draws, by ``answer_cost``; held-out cost is what the queries
that reach a stage cost there (``score(cost="queries")``), which a cost by signal is to tell better than a mean does.

``cost_signal.py 6 gsm8k.qwen_oai`` does so for the random splits 1 to 6 of a log's pooled queries (or of every log's), without the shift from train to test,
and prints the table: 300 queries are fitted (150 of gsm8k), the others held out.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from protocol import DATA, auc

import bayescascade as bc

OUT = Path(__file__).with_suffix(".md")
LOGS = {
    "mmlu.llama": "logprob",
    "mmlu.qwen_oai": "logprob",
    "medmcqa.llama": "logprob",
    "triviaqa.llama": "p_true",
    "triviaqa.qwen_oai": "p_true",
    "gsm8k.llama": "p_true",
    "gsm8k.qwen_oai": "p_true",
}
COSTS = ("mean", "signal")


def split(name: str) -> tuple[xr.Dataset, xr.Dataset]:
    """What is fitted and what is held out: train and test, or random halves of train where there is no test."""
    paths = [DATA / f"{name}.{part}.parquet" for part in ("train", "test")]
    logs = [bc.read_log(p, confidence_kind=LOGS[name], cost="answer_cost") for p in paths if p.is_file()]
    if len(logs) == 2:
        return logs[0], logs[1]
    order = np.random.default_rng(1).permutation(logs[0].sizes["query"])
    half = len(order) // 2
    return logs[0].isel(query=np.sort(order[:half])), logs[0].isel(query=np.sort(order[half:]))


def resplit(name: str, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """What is fitted and what is held out of the pooled queries, at random."""
    parts = split(name)
    log = xr.concat(parts, "query")
    log = log.assign_coords(query=np.arange(log.sizes["query"])).assign_attrs(parts[0].attrs)
    order = np.random.default_rng([list(LOGS).index(name), seed]).permutation(log.sizes["query"])
    n = min(300, len(order) // 2)
    return log.isel(query=np.sort(order[:n])), log.isel(query=np.sort(order[n:]))


def one(name: str, train: xr.Dataset, test: xr.Dataset) -> dict[str, float | str]:
    """Held-out biases at ten points of the default fit's frontier, and held-out areas of both fits' frontiers."""
    how = {"draws": 300, "chains": 2, "random_seed": 1, "progressbar": False, "log_likelihood": False}
    fits = {cost: bc.fit(train, cost=cost, **how) for cost in COSTS}
    curves = {cost: bc.frontier(fit, n_points=50)["threshold"] for cost, fit in fits.items()}
    some = curves["mean"][2::5]
    held = bc.score(test, some, cost="queries")
    by_mean = bc.score(test, some, cost="mean")["cost"]
    row: dict[str, float | str] = {"log": name, "dependence": float(abs(held["cost"] / by_mean - 1.0).mean())}
    for cost, fit in fits.items():
        expected = bc.evaluate(fit, some)[["cost", "error"]].mean(("chain", "draw"))
        row[f"bias {cost}"] = float(abs(expected["cost"] / held["cost"] - 1.0).mean())
        row[f"signed {cost}"] = float((expected["cost"] / held["cost"] - 1.0).mean())
        row[f"error {cost}"] = float(abs(expected["error"] - held["error"]).mean())
        for scored in ("queries", "mean"):
            found = bc.score(test, curves[cost], cost=scored)
            row[f"area {scored} {cost}"] = auc(found["error"].values, found["cost"].values, test)
        own = bc.score(train, some, cost="queries")["cost"]
        row[f"train {cost}"] = float(abs(expected["cost"] / own - 1.0).mean())
    for scored in ("queries", "mean"):
        row[f"gain {scored}"] = row[f"area {scored} signal"] / row[f"area {scored} mean"] - 1.0
    return row


def mean_and_error(values: pd.Series, spec: str) -> str:
    return f"{values.mean():{spec}} ± {values.std(ddof=1) / np.sqrt(len(values)):{spec.lstrip('+')}}"


def resplits(n_seeds: int, *logs: str) -> None:
    """Means over random splits by log, with standard errors over splits."""
    rows = []
    for seed in range(1, n_seeds + 1):
        for name in logs or LOGS:
            rows.append(one(name, *resplit(name, seed)))
            print(seed, rows[-1], flush=True)
        table = pd.DataFrame(rows)
        table["bias gain"] = table["bias signal"] - table["bias mean"]
        columns = {
            "dependence": ".2%",
            "bias mean": ".2%",
            "bias signal": ".2%",
            "bias gain": "+.2%",
            "signed mean": "+.2%",
            "signed signal": "+.2%",
            "gain queries": "+.2%",
            "gain mean": "+.2%",
        }
        for name, part in table.groupby("log") if seed > 1 else ():
            cells = (mean_and_error(part[c], spec) for c, spec in columns.items())
            print(f"| {name} | {len(part)} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"the real logs are not at {DATA}; this script needs them")
    warnings.simplefilter("ignore", bc.CascadeWarning)
    if len(sys.argv) > 1:
        resplits(int(sys.argv[1]), *sys.argv[2:])
        return
    rows = []
    for name in LOGS:
        start = time.perf_counter()
        rows.append(one(name, *split(name)))
        print(f"{time.perf_counter() - start:.0f} s", rows[-1], flush=True)
    table = pd.DataFrame(rows).set_index("log")
    columns = {
        "dependence": ".2%",
        "bias mean": ".2%",
        "bias signal": ".2%",
        "signed mean": "+.2%",
        "signed signal": "+.2%",
        "train mean": ".2%",
        "train signal": ".2%",
        "error mean": ".4f",
        "error signal": ".4f",
        "area queries mean": ".4f",
        "area queries signal": ".4f",
        "gain queries": "+.2%",
        "gain mean": "+.2%",
    }
    lines = [f"| log | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(f'{row[c]:{s}}' for c, s in columns.items())} |" for name, row in table.iterrows()
    ]
    for label, part in (("all", table), ("with a test", table[[not n.startswith("gsm8k") for n in table.index]])):
        lines.append(f"| {label} | {' | '.join(mean_and_error(part[c], s) for c, s in columns.items())} |")
    less = table["bias signal"] - table["bias mean"]
    text = "\n".join(
        [
            "# Costs that depend on the signal, on real logs",
            "",
            '`docs/evidence/cost_signal.py`: every log, all stages, `fit(cost="mean")` (the default) and `fit(cost="signal")` on',
            "`train` with 2 x 300 draws and seed 1, by `answer_cost`, held against `test`; gsm8k, which has no test, is fitted on",
            "one random half of `train` and held against the other. Ten points of the default fit's frontier of 50 points are",
            'evaluated by both fits. Held-out cost is that of the queries that reach a stage (`score(cost="queries")`).',
            "",
            "*dependence*: mean absolute relative difference of the held-out cost by queries from that by stages' means: how much",
            "costs depend on signals at all. *bias*: mean absolute relative difference of the expected from the held-out cost, by",
            "each fit; *signed*: the same with its sign. *train*: the bias in-sample. *error*: mean absolute difference of the",
            "expected from the held-out error. *area*: under held-out error against cost, of each fit's own frontier. *gain*: signal's",
            "area relative to mean's, costs by queries and by stages' means (below 0: signal is better). ± are standard errors over logs.",
            "",
            *lines,
            "",
            f"Bias of the cost, signal less mean: {mean_and_error(less, '+.2%')}.",
            "",
        ]
    )
    OUT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
