"""Fit a real log, tune for three targets, and hold each promise against the held-out log.

Run from the project's root: ``.venv/bin/python docs/evidence/real_log.py``. Writes ``docs/evidence/real_log.md``.
Needs the logs in ``../shared/data``.
"""

import sys
import time
from pathlib import Path

import numpy as np

import bayescascade as bc

DATA = Path(__file__).parents[3] / "shared" / "data"
OUT = Path(__file__).with_suffix(".md")
GOALS = [{"max_error": 0.25}, {"max_error": 0.20}, {"max_cost": 2e-4}]


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"the real logs are not at {DATA}; this script needs them")
    train, test = (
        bc.read_log(DATA / f"mmlu.llama.{split}.parquet", confidence_kind="logprob", cost="answer_cost")
        for split in ("train", "test")
    )
    start = time.perf_counter()
    fit = bc.fit(train, random_seed=1, progressbar=False)
    fitted = time.perf_counter() - start
    rng = np.random.default_rng(1)
    m = test.sizes["query"]
    rows = []
    for goal in GOALS:
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

Made by `python docs/evidence/real_log.py`. The logs are those of "Rational Tuning of LLM Cascades via Probabilistic
Modeling" (Zellinger & Thomson 2025, arXiv:2501.09345).
"""
    OUT.write_text(text)
    print(text, f"\nfit: {fitted:.1f} s, compiling included", sep="")


def interval(values: np.ndarray, spec: str) -> str:
    low, high = np.quantile(values, [0.05, 0.95])
    return f"{low:{spec}} to {high:{spec}}"


if __name__ == "__main__":
    main()
