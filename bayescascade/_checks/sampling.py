"""Did the sampler work, and can leave-one-out be trusted?"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from bayescascade._checks.evidence import Evidence
from bayescascade._checks.results import CheckResult
from bayescascade.inference import convergence

MAX_RHAT = 1.01
# Pareto k of single queries stray over the limit by chance; one in a hundred does no harm to their sum.
MAX_BAD_SHARE = 0.01
_MAX_LOO = 8_000_000


def check_convergence(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """R-hat, effective sample sizes and divergences."""
    import arviz as az

    found = convergence(evidence.fit)
    posterior = evidence.fit["posterior"]
    least = min(400, 100 * posterior.sizes["chain"])
    if posterior.sizes["chain"] < 2:
        text = "One chain only, so R-hat cannot be computed. Fit again with chains=4."
        return CheckResult("convergence", None, pd.DataFrame(), text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cost that is known exactly never moves: 0/0, shown as NaN
        table = az.summary(evidence.fit, kind="diagnostics", round_to="none")
    table = table[["r_hat", "ess_bulk", "ess_tail", "mcse_mean"]].astype(float)
    groups = table.groupby([str(name).split("[")[0] for name in table.index], sort=False)
    table = groups.agg({"r_hat": "max", "ess_bulk": "min", "ess_tail": "min", "mcse_mean": "max"})
    table.index.name = "variable"
    ess = float(np.fmin(found["ess_bulk"], found["ess_tail"]))
    troubles = []
    if not found["rhat"] <= MAX_RHAT:
        troubles.append(f"R-hat is {found['rhat']:.3f} for {found['rhat_name']}, above {MAX_RHAT}")
    if not ess >= least:
        troubles.append(f"the smallest effective sample size is {ess:.0f}, below {least}")
    if found["divergences"]:
        one = found["divergences"] == 1
        troubles.append("1 transition diverged" if one else f"{found['divergences']} transitions diverged")
    if troubles:
        text = (
            f"{_sentence('; '.join(troubles))}. The draws may not represent the posterior: fit again with more "
            "draws and tune or, against divergences, target_accept=0.95."
        )
        return CheckResult("convergence", False, table, text)
    text = (
        f"R-hat is at most {found['rhat']:.3f}, the smallest effective sample size is {ess:.0f} and no "
        "transition diverged. The chains agree, so the draws can be used."
    )
    return CheckResult("convergence", True, table, text)


def check_loo(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Pareto k of leave-one-query-out, for the signals and for the labels."""
    import arviz as az
    import xarray as xr

    fit = evidence.fit
    if "log_likelihood" not in fit.children:
        text = (
            "The fit holds no log-likelihood, so leave-one-out was not computed. "
            "Fit again with log_likelihood=True to have it."
        )
        return CheckResult("loo", None, pd.DataFrame(), text)
    likelihood = fit["log_likelihood"].to_dataset()
    step = int(np.ceil(likelihood["signal"].size / _MAX_LOO))
    thin = slice(None, None, step)
    tree = xr.DataTree.from_dict(
        {
            "posterior": fit["posterior"].to_dataset().isel(draw=thin),
            "log_likelihood": likelihood.isel(draw=thin),
        }
    )
    if tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"] < 100:
        text = "Fewer than 100 draws: too few for leave-one-out. Fit again with more draws."
        return CheckResult("loo", None, pd.DataFrame(), text)
    rows = []
    for name in ("signal", "correct"):
        part = tree
        if name == "correct":  # queries without a label have nothing to leave out
            seen = np.isfinite(evidence.correct).any(axis=1)
            part = xr.DataTree.from_dict(
                {
                    "posterior": tree["posterior"].to_dataset(),
                    "log_likelihood": tree["log_likelihood"].to_dataset()[["correct"]].isel(query=seen),
                }
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a high k is what this check reports
            loo = az.loo(part, var_name=name, pointwise=True)
        k = np.asarray(loo.pareto_k)
        rows.append((name, loo.elpd, loo.se, loo.p, k.max(), loo.good_k, np.mean(k > loo.good_k)))
    columns = ["factor", "elpd", "se", "p", "worst_k", "good_k", "share_above"]
    table = pd.DataFrame(rows, columns=columns).set_index("factor")
    worst = table["share_above"].max()
    passed = bool(worst <= MAX_BAD_SHARE)
    found = f"{worst:.1%} of the queries have a Pareto k above {table['good_k'].min():.2f}"
    if passed:
        text = f"{_sentence(found)}. No query decides the fit alone, and elpd may be used to compare fits."
    else:
        text = (
            f"{_sentence(found)}. Some queries weigh so much that elpd is unreliable: look at them for wrong "
            "labels or confidences, and do not compare fits by elpd."
        )
    return CheckResult("loo", passed, table, text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
