"""Backtest of margins x families x calibrations on real logs: which should be the defaults?

Run from the project's root: ``python -m studies.defaults.run``, with the logs in ``../shared/data``. Writes
``docs/evidence/defaults.md``; results by cascade go to ``build/defaults.csv``, and a run that was stopped goes on from there.

The protocol is that of the logs' README: fit on a part of ``train``, take 50 frontier points, score them on ``test``, area under
error against cost by ``answer_cost``. A promise: the cheapest frontier point with P(error <= e) >= 0.9; kept when its error on
``test`` is at most e. Margins with links, and calibration, share no parameter and no data, so their posteriors are independent:
each is sampled once, and their draws are paired.
"""

import time
import warnings
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.positions import to_thresholds, with_last
from bayescascade.induction.price_sweep import sweep
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.calibration import CALIBRATIONS
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.design import build_design
from bayescascade.model.margins.models import MARGIN_MODELS
from bayescascade.model.options import Options
from bayescascade.posterior.draws import get_draws
from studies.common.command import parse
from studies.common.logs import read, require_logs
from studies.common.protocol import auc

LOGS = [
    ("mmlu", "llama", "logprob", ([0, 2, 4], [1, 3, 4])),
    ("medmcqa", "llama", "logprob", ([0, 2, 4], [1, 3, 4])),
    ("triviaqa", "llama", "p_true", ([0, 2, 4], [1, 3, 4])),
    ("mmlu", "qwen_oai", "logprob", ([0, 2, 3],)),
    ("triviaqa", "qwen_oai", "p_true", ([0, 2, 3],)),
]
SIZES: list[tuple[str, int | None, int]] = [("30", 30, 0), ("100", 100, 0), ("all", None, 0), ("30", 30, 1)]
HOW = SamplerConfig(draws=250, tune=300, chains=2, random_seed=1, log_likelihood=False)
CALIBRATED = ("intercept", "slope", "atom_offset", "bend")
MARGINS = tuple(MARGIN_MODELS)


def judge(fit: xr.DataTree, train: xr.Dataset, test: xr.Dataset) -> dict[str, float]:
    """Area on test, and how many of two promises were made and kept."""
    draws = get_draws(fit)
    positions, _ = sweep(draws, 50)
    error, cost, _, *_ = forward_all(draws, positions)
    thresholds = with_last(to_thresholds(positions, draws))
    found = bc.score(test, thresholds)
    out = {"auc": auc(found["error"].values, found["cost"].values, test), "made": 0, "kept": 0}
    alone = 1.0 - train["correct"].mean("query").values
    for share in (0.25, 0.5):
        goal = alone.min() + share * (alone.max() - alone.min())
        sure = np.flatnonzero(np.mean(error <= goal, axis=0) >= 0.9)
        if len(sure):
            best = sure[cost.mean(axis=0)[sure].argmin()]
            out["made"] += 1
            out["kept"] += int(found["error"].values[best] <= goal)
    return out


def sampled(log: xr.Dataset, family: str, margin: str, calibration: str) -> xr.DataTree:
    """A fit; all families share one compiled model."""
    n_links = log.sizes["stage"] - 1
    options = Options((family,) * n_links, margin, calibration, candidates=tuple(FAMILIES))
    return fit_design(build_design(log, options), log, HOW)


def one(train: xr.Dataset, test: xr.Dataset) -> list[dict[str, str | float]]:
    """Every combination on one training log."""
    calibrated = {name: sampled(train, "independence", MARGINS[0], name)["posterior"] for name in CALIBRATIONS}
    rows = []
    for margin, family in product(MARGINS, FAMILIES):
        fit = sampled(train, family, margin, "logistic")
        plain = fit["posterior"].to_dataset().drop_vars([n for n in CALIBRATED if n in fit["posterior"]])
        for name, posterior in calibrated.items():
            own = posterior.to_dataset()
            fit["posterior"] = xr.DataTree(plain.merge(own[[n for n in CALIBRATED if n in own]]))
            rows.append({"margin": margin, "family": family, "calibration": name} | judge(fit, train, test))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not in the table yet, and write the summary."""
    run = parse("defaults", __doc__, argv, logs=[f"{name}.{chain}" for name, chain, *_ in LOGS])
    require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    table = run.rows(("cascade", "n", "seed"), text=["n"])
    logs = [log for log in LOGS if f"{log[0]}.{log[1]}" in run.logs]
    for (label, n, seed), (name, chain, _, cascades) in list(product(SIZES, logs))[: 1 if run.quick else None]:
        for stages in cascades[: 1 if run.quick else None]:
            cascade = f"{name}.{chain} {stages}"
            if (cascade, label, seed) in table:
                continue
            start = time.perf_counter()
            train, test = (read(f"{name}.{chain}", split, stages) for split in ("train", "test"))
            if n is not None:
                rows = np.random.default_rng(seed).choice(train.sizes["query"], n, replace=False)
                train = train.isel(query=np.sort(rows))
            table.add((cascade, label, seed), one(train, test))
            print(cascade, label, seed, f"{time.perf_counter() - start:.0f} s", flush=True)
    run.write(page(table.table))


def page(done: pd.DataFrame) -> str:
    """The summary."""
    sizes = [label for label in dict.fromkeys(s[0] for s in SIZES) if label in set(done["n"])]
    lines = [
        "# Which defaults? A backtest of margins, families and calibrations",
        "",
        f"`python -m studies.defaults.run`: {done[['cascade', 'n', 'seed']].drop_duplicates().shape[0]} "
        f"training logs from {done['cascade'].nunique()} cascades of three stages, each with combinations of "
        f"{done['margin'].nunique()} margins, {done['family'].nunique()} families and {done['calibration'].nunique()} "
        f"calibrations, {HOW.chains} x {HOW.draws} draws. Mean area "
        "under error against cost on `test` (lower is better), and, of the promises P(error <= e) >= 0.9 that were "
        "made, the share kept on `test`.",
        "",
    ]
    for factor in ("margin", "family", "calibration"):
        lines += [f"## By {factor}, averaged over the rest", ""]
        lines += [f"| {factor} | " + " | ".join(f"AUC, n = {s} | kept" for s in sizes) + " |"]
        lines += ["|---" * (1 + 2 * len(sizes)) + "|"]
        for level in dict.fromkeys(done[factor]):
            cells = (_cells(done[done[factor] == level], s) for s in sizes)
            lines.append(f"| {level} | " + " | ".join(cells) + " |")
        lines.append("")
    mean = done.groupby(["margin", "family", "calibration", "n"])["auc"].mean().unstack("n")
    best = mean.mean(axis=1).sort_values()
    lines += ["## The ten best combinations by mean over n, and the default", ""]
    lines += ["| margin | family | calibration | " + " | ".join(f"AUC, n = {s} | kept" for s in sizes) + " |"]
    lines += ["|---" * (3 + 2 * len(sizes)) + "|"]
    shown = [*best.index[:10]]
    default = ("polya_tree", "gumbel", "logistic")
    for key in shown if default in shown else [*shown, default]:
        part = done[(done["margin"] == key[0]) & (done["family"] == key[1]) & (done["calibration"] == key[2])]
        lines.append(f"| {' | '.join(key)} | " + " | ".join(_cells(part, s) for s in sizes) + " |")
    rank = list(best.index).index(default) + 1
    lines += ["", f"The default combination is number {rank} of {len(best)}.", ""]
    return "\n".join(lines)


def _cells(part: pd.DataFrame, size: str) -> str:
    part = part[part["n"] == size]
    made = part["made"].sum()
    return f"{part['auc'].mean():.4f} | " + (f"{part['kept'].sum() / made:.0%} of {made}" if made else "none made")


if __name__ == "__main__":
    main()
