"""A new task with thirty labels, alone and beside three other benchmarks.

Run from the project's root: ``.venv/bin/python docs/evidence/pooling.py``, with the logs in ``../shared/data``. Writes
``docs/evidence/pooling.md``.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from protocol import frontier_auc, paired, read

import bayescascade as bc

OUT = Path(__file__).with_suffix(".md")
BENCHMARKS = ("mmlu", "medmcqa", "triviaqa", "gsm8k")
STAGES = [0, 2, 4]
N_LABELS = 30
# one kind for all: log-probabilities of an answer and of "true" are both logarithms of probabilities
KIND = "p_true"
HOW = {"draws": 400, "chains": 2, "progressbar": False, "log_likelihood": False}


def main(seeds: int = 10) -> None:
    """Every benchmark that has a test split as the new task."""
    warnings.simplefilter("ignore", bc.CascadeWarning)
    train = {name: read(name, "llama", KIND, "train", STAGES) for name in BENCHMARKS}
    lines = [
        "# A new task with thirty labels",
        "",
        f"`.venv/bin/python docs/evidence/pooling.py`: stages {STAGES} of the llama logs; {N_LABELS} random queries of the new "
        f"task's `train`, alone or beside all of the three others' `train`; area on the new task's `test`, {seeds} seeds; "
        "and how far the mean of P(error) at three threshold vectors is from the error on `test`.",
        "",
        "| new task | AUC alone | AUC pooled | difference | better in | miss of error, alone | pooled | width, alone | pooled |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    every: tuple[list[float], list[float]] = ([], [])
    for name in BENCHMARKS[:3]:
        test = read(name, "llama", KIND, "test", STAGES)
        areas: tuple[list[float], list[float]] = ([], [])
        misses, widths = np.zeros((2, seeds)), np.zeros((2, seeds))
        points = [np.quantile(test["confidence"].values[:, :-1], q, axis=0) for q in (0.3, 0.5, 0.7)]
        at = np.array([[*point, -np.inf] for point in points])
        real = bc.score(test, at)["error"].values
        for seed in range(seeds):
            rows = np.random.default_rng(seed).choice(train[name].sizes["query"], N_LABELS, replace=False)
            few = train[name].isel(query=np.sort(rows))
            pooled = bc.fit(bc.combine_tasks(train | {name: few}), random_seed=seed, **HOW)
            fits = bc.fit(few, random_seed=seed, **HOW), bc.select_task(pooled, name)
            for i, fit in enumerate(fits):
                areas[i].append(frontier_auc(fit, test))
                error = bc.evaluate(fit, at)["error"]
                misses[i, seed] = np.abs(error.mean(("chain", "draw")).values - real).mean()
                ends = error.quantile([0.05, 0.95], ("chain", "draw")).values
                widths[i, seed] = (ends[1] - ends[0]).mean()
            print(name, seed, [f"{a[-1]:.4f}" for a in areas], misses[:, seed].round(3), flush=True)
        lines.append(_row(name, areas, misses, widths))
        for i in (0, 1):
            every[i].extend(areas[i])
    lines += [
        "",
        f"Over all: {np.mean(every[0]):.4f} alone, {np.mean(every[1]):.4f} pooled, {paired(*every)}.",
        "",
    ]
    OUT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _row(name: str, areas: tuple[list[float], list[float]], misses: np.ndarray, widths: np.ndarray) -> str:
    better = sum(b < a for a, b in zip(*areas, strict=True))
    cells = [
        f"{np.mean(areas[0]):.4f}",
        f"{np.mean(areas[1]):.4f}",
        paired(*areas),
        f"{better} of {len(areas[0])}",
    ]
    cells += [f"{x:.3f}" for x in (*misses.mean(axis=1), *widths.mean(axis=1))]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
