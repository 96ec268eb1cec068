"""Area under error against cost, with a difficulty and without, beside raw correctness and stored frontiers.

Run from the project's root: ``python -m studies.areas.run``. Finished cells are kept in ``build/areas`` by
`compare`. Writes ``docs/evidence/areas.md``. Needs the logs in ``../shared/data``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

import bayescascade as bc
from bayescascade.rivals.ours import Bayes
from studies.common import resplits as rs
from studies.common.command import BUILD, parse
from studies.common.logs import LOGS, read_texts, require_logs
from studies.rivals.run import stored

MODELS = [Bayes("Markov", options=(("difficulty", False),)), Bayes("difficulty", options=(("difficulty", True),))]
RAW, ALL = "ascent_raw", "all"
METHODS: list[Any] = [*MODELS, RAW]
N_SEEDS = {"30": 3, ALL: 1}


def measure(name: str, n: str, n_seeds: int, least: int = 3) -> pd.DataFrame:
    """Areas on the test log of all cascades of at least so many stages (method, cascade and seed a row)."""
    train, test = (read_texts(name, split, range(LOGS[name].n_stages)) for split in ("train", "test"))
    stages = [str(stage) for stage in train["stage"].values]
    numbers = [keep for k in range(least, len(stages) + 1) for keep in combinations(range(len(stages)), k)]
    found = bc.compare(
        train,
        test,
        methods=METHODS,
        n=None if n == ALL else int(n),
        seeds=n_seeds,
        cascades=[[stages[j] for j in keep] for keep in numbers],
        n_replicates=2,
        resume=BUILD / "areas" / f"{name}.{n}",
        progressbar=False,
    )
    auc = found.data["auc"].squeeze("n", drop=True).transpose("cascade", "rival", "seed")
    rows = auc.to_dataframe().reset_index().dropna(subset="auc")
    by_name = dict(zip(auc["cascade"].values, ("-".join(map(str, keep)) for keep in numbers), strict=True))
    published = {
        stages: area for (method, stages), area in stored(name, test).items() if method == "markov_copula_mle"
    }
    rows["published"] = rows["cascade"].map(by_name).map(published)
    return rows.assign(log=name, n=n)


def gap(table: pd.DataFrame, first: str, second: str) -> str:
    """Relative difference of the mean areas in per cent, with its standard error over logs and seeds."""
    areas = table.pivot_table(index=["log", "seed"], columns="rival", values="auc")
    ratio = 100.0 * (areas[first] / areas[second] - 1.0)
    spread = f" ± {ratio.std(ddof=1) / np.sqrt(len(ratio)):.2f}" if len(ratio) > 1 else ""
    return f"{ratio.mean():+.2f}{spread}"


def page(table: pd.DataFrame) -> str:
    """The page, from all areas."""
    lines, by_log = [], []
    for n in N_SEEDS:
        here = table[table["n"] == n]
        mean = here.groupby(["log", "rival"])["auc"].mean().groupby("rival").mean()
        pairs = (("difficulty", "Markov"), ("Markov", RAW), ("difficulty", RAW))
        lines.append(
            f"| {n} | {mean['Markov']:.4f} | {mean['difficulty']:.4f} | {mean[RAW]:.4f} | "
            + " | ".join(gap(here, *pair) for pair in pairs)
            + " |"
        )
        for log, part in here.groupby("log"):
            by_log.append(f"| {log} | {n} | " + " | ".join(gap(part, *pair) for pair in pairs) + " |")
    whole = table[(table["n"] == ALL) & table["published"].notna()]
    beside = (
        (100.0 * (whole["auc"] / whole["published"] - 1.0))
        .groupby([whole["log"], whole["rival"]])
        .mean()
        .unstack()
    )
    published = [f"| {log} | {row['Markov']:+.2f} | {row['difficulty']:+.2f} |" for log, row in beside.iterrows()]
    published.append(f"| mean | {beside['Markov'].mean():+.2f} | {beside['difficulty'].mean():+.2f} |")
    return f"""# Areas with a difficulty and without

Area under error against cost on `test`, by the protocol of {{doc}}`rivals`: all cascades of three stages and more of five logs, all stages run, learnt from n queries of
`train`. Lower is better. `{RAW}` tunes thresholds on raw correctness. Differences are in per cent, ± one standard error over logs and seeds; the cascades of one log and seed share their queries.

| n | Markov | difficulty | {RAW} | difficulty beside Markov | Markov beside {RAW} | difficulty beside {RAW} |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

## Beside the published frontiers

n = all, the llama chains: area beside that of the publication's stored Markov copula, in per cent.

| log | Markov | difficulty |
|---|---|---|
{chr(10).join(published)}

## By log

| log | n | difficulty beside Markov | Markov beside {RAW} | difficulty beside {RAW} |
|---|---|---|---|---|
{chr(10).join(by_log)}

Made by `python -m studies.areas.run`. The logs are those of "Rational Tuning of LLM Cascades via Probabilistic Modeling" (arXiv:2501.09345).
"""


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("areas", __doc__, argv, logs=rs.LOGS)
    require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    parts = []
    for n, n_seeds in N_SEEDS.items():
        for name in run.logs:
            parts.append(measure(name, n, 1 if run.quick else n_seeds, 4 if run.quick else 3))
            print(n, name, flush=True)
            if run.quick:
                print(parts[0].groupby("rival")["auc"].mean())
                return
    run.write(page(pd.concat(parts, ignore_index=True)))


if __name__ == "__main__":
    main()
