"""Did the sampler work, and can leave-one-out be trusted?"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import bfmi

from bayescascade._common.messages import sentence
from bayescascade.checks.evidence import Evidence
from bayescascade.checks.results import CheckResult
from bayescascade.display import checks as pictures
from bayescascade.errors import Message, option
from bayescascade.inference.sampling import convergence, informed
from bayescascade.posterior.schema import why_not_computed

MAX_RHAT = 1.01
MIN_BFMI = 0.3
MAX_DEEP = 0.01


def check_convergence(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """R-hat, effective sample sizes, divergences, energy and tree depth: the sampler itself looks at none."""
    fit, found = evidence.fit, convergence(evidence.fit)
    posterior = fit["posterior"]
    lacking = why_not_computed(fit, "R-hat", several_chains=True, draws=4 * posterior.sizes["chain"])
    if lacking:
        return CheckResult("convergence", None, pd.DataFrame(), lacking)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cost that is known exactly never moves: 0/0, shown as NaN
        table = az.summary(informed(fit), kind="diagnostics", round_to="none").dropna(how="all")
    table = table[["r_hat", "ess_bulk", "ess_tail", "mcse_mean"]].astype(float)
    groups = table.groupby([str(name).split("[")[0] for name in table.index], sort=False)
    table = groups.agg({"r_hat": "max", "ess_bulk": "min", "ess_tail": "min", "mcse_mean": "max"})
    table.index.name = "variable"
    picture = partial(pictures.convergence, posterior.to_dataset())
    ess = float(np.fmin(found["ess_bulk"], found["ess_tail"]))
    energy, deep = _energy(fit)
    troubles = _troubles(found, ess, min(400, 100 * posterior.sizes["chain"]), energy, deep)
    if troubles:
        what = sentence("; ".join(trouble for trouble, _ in troubles))
        advice = Message("; ").join(dict.fromkeys(advice for _, advice in troubles))
        text = f"{what}. The draws may not represent the posterior. " + sentence(advice) + "."
        return CheckResult("convergence", False, table, text, picture)
    judged = f", E-BFMI at least {energy:.2f}" if np.isfinite(energy) else ""
    text = (
        f"The chains agree: R-hat is at most {found['rhat']:.3f}, the smallest effective sample size {ess:.0f}"
        f"{judged}, with no divergence."
    )
    return CheckResult("convergence", True, table, text, picture)


def _troubles(found: dict[str, Any], ess: float, least: int, energy: float, deep: float) -> list[tuple[str, str]]:
    """What is wrong with the draws, each with what to do about it."""
    troubles: list[tuple[str, str]] = []
    if not found["rhat"] <= MAX_RHAT:
        what = f"R-hat is {found['rhat']:.3f} for {found['rhat_name']}, above {MAX_RHAT}"
        troubles.append((what, "run longer chains, with twice the " + option("draws") + " and " + option("tune")))
    if not ess >= least:
        what = f"the smallest effective sample size is {ess:.0f}, below {least}"
        factor = int(np.ceil(least / max(ess, 1.0)))
        troubles.append((what, f"take {max(2, factor)} times as many " + option("draws")))
    if found["divergences"]:
        n = found["divergences"]
        what = "1 transition diverged" if n == 1 else f"{n} transitions diverged"
        advice = "against divergences fit with " + option("target_accept", 0.97) + ", then 0.99"
        troubles.append((what, advice))
    if energy < MIN_BFMI:
        what = f"E-BFMI is {energy:.2f}, below {MIN_BFMI}, so the sampler moves slowly between energies"
        advice = "against a low E-BFMI give a longer " + option("tune") + " (1000), or label more queries"
        troubles.append((what, advice + " of the stages with few"))
    if deep > MAX_DEEP:
        what = f"{deep:.1%} of the trees reached their depth limit"
        advice = "against deep trees give a longer " + option("tune") + ", and look for a stage whose confidence"
        troubles.append((what, advice + " hardly varies"))
    return troubles


def _energy(fit: xr.DataTree) -> tuple[float, float]:
    """Smallest E-BFMI of a chain and share of trees at their limit; NaN where draws are no sampler's path."""
    stats = fit["sample_stats"].to_dataset()
    if fit.attrs.get("update") == "reweighted":
        return np.nan, np.nan
    energy = bfmi(stats)["energy"] if "energy" in stats else np.nan
    deep = stats["reached_max_treedepth"].mean() if "reached_max_treedepth" in stats else np.nan
    return float(np.min(energy)), float(deep)
