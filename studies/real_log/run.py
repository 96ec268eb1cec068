"""Fit a real log, tune for three targets, and hold each promise against the held-out log.

Run from the project's root: ``python -m studies.real_log.run``. Writes ``docs/evidence/real_log.md``. Needs the logs in ``../shared/data``.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import bayescascade as bc
from studies.common.command import parse
from studies.common.logs import read, require_logs

GOALS: list[dict[str, Any]] = [{"max_error": 0.25}, {"max_error": 0.20}, {"max_cost": 2e-4}]


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("real_log", __doc__, argv)
    require_logs()
    train, test = (read("mmlu.llama", split, [0, 2, 4] if run.quick else None) for split in ("train", "test"))
    start = time.perf_counter()
    draws: dict[str, Any] = {"draws": 200, "chains": 2} if run.quick else {}
    fit = bc.fit(train, random_seed=1, progressbar=False, **draws)
    fitted = time.perf_counter() - start
    rng = np.random.default_rng(1)
    m = test.sizes["query"]
    rows = []
    for goal in GOALS[:1] if run.quick else GOALS:
        (name, bound), *_ = goal.items()
        solution = bc.tune(fit, prob=0.9, **goal)
        real = bc.score(test, solution.thresholds)
        error = solution.error.values.ravel()
        batch = rng.binomial(m, error) / m
        cost = 1e3 * solution.cost.values.ravel()
        shares = " / ".join(f"{x:.0%}" for x in solution.answered.mean(("chain", "draw")).values)
        held = float(real["error"] if name == "max_error" else real["cost"])
        rows.append(
            f"| P({name.removeprefix('max_')} <= {bound:g}) >= 0.9 | {interval(error, '.3f')} | "
            f"{interval(batch, '.3f')} | {float(real['error']):.3f} | {interval(cost, '.3f')} | "
            f"{1e3 * float(real['cost']):.3f} | {shares} | {'yes' if held <= bound else 'no'} |"
        )
    text = f"""# Promises on a real log

mmlu, chain llama (1b, 3b, 8b, 70b, 405b): fitted on the {train.sizes["query"]} queries of `train` with 4 x 1000 draws
and the default options, tuned for three goals, scored on the {m} held-out queries of `test`. Costs in USD per 1,000
queries. Intervals are 90%, equal-tailed; "test-sized batch" adds the binomial noise of {m} queries to the long-run
rate, which is what one held-out number should fall into.

| goal | error, long run | error, test-sized batch | error on test | cost | cost on test | answered by stage | kept on test |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Made by `python -m studies.real_log.run`. The logs are those of "Rational Tuning of LLM Cascades via Probabilistic
Modeling" (Zellinger & Thomson 2025, arXiv:2501.09345).
"""
    run.write(text)
    print(text, f"\nfit: {fitted:.1f} s, compiling included", sep="")


def interval(values: np.ndarray, spec: str) -> str:
    low, high = np.quantile(values, [0.05, 0.95])
    return f"{low:{spec}} to {high:{spec}}"


if __name__ == "__main__":
    main()
