"""A new task with thirty labels, alone and beside three other benchmarks.

Run from the project's root: ``python -m studies.pooling.run``, with the logs in ``../shared/data``. Writes
``docs/evidence/pooling.md``.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import bayescascade as bc
from studies.common.command import parse
from studies.common.logs import read, require_logs
from studies.common.protocol import frontier_auc, paired

BENCHMARKS = ("mmlu", "medmcqa", "triviaqa", "gsm8k")
STAGES = [0, 2, 4]
N_LABELS = 30
# one kind for all: log-probabilities of an answer and of "true" are both logarithms of probabilities
KIND = "p_true"
HOW: dict[str, Any] = {"draws": 400, "chains": 2, "progressbar": False, "log_likelihood": False}


def main(argv: Sequence[str] | None = None) -> None:
    """Every benchmark that has a test split as the new task."""
    run = parse("pooling", __doc__, argv, seeds=range(10))
    require_logs()
    seeds = run.seeds[:1] if run.quick else run.seeds
    warnings.simplefilter("ignore", bc.CascadeWarning)
    train = {name: read(f"{name}.llama", "train", STAGES, KIND) for name in BENCHMARKS}
    lines = [
        "# A new task with thirty labels",
        "",
        f"`python -m studies.pooling.run`: stages {STAGES} of the llama logs; {N_LABELS} random queries of the new "
        f"task's `train`, alone or beside all of the three others' `train`; area on the new task's `test`, {len(seeds)} seeds; "
        "and how far the mean of P(error) at three threshold vectors is from the error on `test`.",
        "",
        "| new task | AUC alone | AUC pooled | difference | better in | miss of error, alone | pooled | width, alone | pooled |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    every: tuple[list[float], list[float]] = ([], [])
    for name in BENCHMARKS[: 1 if run.quick else 3]:
        test = read(f"{name}.llama", "test", STAGES, KIND)
        areas: tuple[list[float], list[float]] = ([], [])
        misses, widths = np.zeros((2, len(seeds))), np.zeros((2, len(seeds)))
        points = [np.quantile(test["confidence"].values[:, :-1], q, axis=0) for q in (0.3, 0.5, 0.7)]
        at = np.array([[*point, -np.inf] for point in points])
        real = bc.score(test, at)["error"].values
        for which, seed in enumerate(seeds):
            rows = np.random.default_rng(seed).choice(train[name].sizes["query"], N_LABELS, replace=False)
            few = train[name].isel(query=np.sort(rows))
            pooled = bc.fit(bc.combine_tasks(train | {name: few}), random_seed=seed, **HOW)
            fits = bc.fit(few, random_seed=seed, **HOW), bc.select_task(pooled, name)
            for i, fit in enumerate(fits):
                areas[i].append(frontier_auc(fit, test))
                error = bc.evaluate(fit, at)["error"]
                misses[i, which] = np.abs(error.mean(("chain", "draw")).values - real).mean()
                ends = error.quantile([0.05, 0.95], ("chain", "draw")).values
                widths[i, which] = (ends[1] - ends[0]).mean()
            print(name, seed, [f"{a[-1]:.4f}" for a in areas], misses[:, which].round(3), flush=True)
        lines.append(_row(name, areas, misses, widths))
        for i in (0, 1):
            every[i].extend(areas[i])
    lines += [
        "",
        f"Over all: {np.mean(every[0]):.4f} alone, {np.mean(every[1]):.4f} pooled, {paired(*every)}.",
        "",
    ]
    run.write("\n".join(lines))
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
    main()
