"""Tenants fitted alone, jointly, and alone under the population of the joint fit (empirical Bayes).

Run from the project's root: ``python -m studies.tenants.run``. Writes ``docs/evidence/tenants.md``. Tenants are simulated.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import mcse

import bayescascade as bc
from bayescascade.posterior.population import population_of
from studies.common.command import parse

POOLED = (15, 15, 30, 30, 60, 100, 200, 300)  # queries of the tenants of the joint fit, all labelled
LATER = (15, 15, 30, 30)  # of tenants who are not in it
FEW = 30  # queries of a small tenant
TRUTH = 50_000  # queries that a tenant's true error and cost are counted from
HOW: dict[str, Any] = {"draws": 400, "chains": 2, "progressbar": False, "log_likelihood": False}
WAYS = ("joint", "pooled", "independent")
PARAMETERS = ("intercept", "log_slope", "tau", "loading", "log_discrimination", "unanswerable")
_DRAWS = ("chain", "draw")
# A tenant of the first pass is in its own prior: to first order that moves the prior's mean by one of `len(POOLED)`
# parts of what its log says, in posterior standard deviations by about as much, and the prior's spread likewise.
# Twice that is allowed, and four Monte Carlo standard errors.
TOLERANCE, ERRORS = 2.0 / len(POOLED), 4.0


def tenant(rng: np.random.Generator) -> dict[str, Any]:
    """How one tenant of the population is simulated."""
    shift, rest = 0.7 * rng.normal(), 0.4 * rng.normal(size=3)
    return {
        "intercept": np.array([0.2, 1.1, 2.0]) + shift + rest,
        "slope": 1.2 * np.exp(0.3 * rng.normal(size=3)),
        "tau": np.clip(0.15 + 0.08 * rng.normal(size=2), 0.0, 0.5),
        "loading": 1.0 / (1.0 + np.exp(0.2 - 0.3 * rng.normal(size=3))),
        "discrimination": 0.7 * np.exp(0.3 * rng.normal(size=3)),
        "unanswerable": 0.03,
        "copula": "gaussian",
        "n_stages": 3,
    }


def quantities(fit: xr.DataTree, at: np.ndarray) -> xr.Dataset:
    """Draws of a tenant's parameters, and of error and cost at some thresholds (chain, draw, which)."""
    posterior, out = fit["posterior"].to_dataset(), bc.evaluate(fit, at)
    if "discrimination" in posterior:
        posterior = posterior.assign(log_discrimination=np.log(posterior["discrimination"]))
    found = {name: posterior[name] for name in PARAMETERS if name in posterior}
    found |= {"error": out["error"], "cost": out["cost"]}
    named: dict[str, Any] = {}
    for name, values in found.items():
        flat = values.transpose(*_DRAWS, ...).values.reshape(values.sizes["chain"], values.sizes["draw"], -1)
        named |= {f"{name} {i}": (_DRAWS, flat[..., i]) for i in range(flat.shape[-1])}
    return xr.Dataset(named)


def rows_of(fit: xr.DataTree, at: np.ndarray, truth: xr.Dataset, **where: Any) -> list[dict[str, Any]]:
    """Mean and standard deviation of each quantity with their Monte Carlo errors, and the truth where it is known."""
    draws = quantities(fit, at)
    errors = {method: mcse(draws, method=method) for method in ("mean", "sd")}
    rows = []
    for name, values in draws.items():
        what, which = str(name).split()
        known = float(truth[what].values[int(which)]) if what in truth else np.nan
        row = {"what": what, "which": int(which), "mean": float(values.mean()), "sd": float(values.std())}
        row |= {f"mcse_{method}": float(found[name]) for method, found in errors.items()}
        rows.append(where | row | {"truth": known})
    return rows


def measured(seed: int, pooled: Sequence[int], later: Sequence[int], **how: Any) -> list[dict[str, Any]]:
    """All three fits of the tenants of one population."""
    rng = np.random.default_rng(seed)
    names = [f"t{i}" for i in range(len(pooled) + len(later))]
    sizes = dict(zip(names, (*pooled, *later), strict=True))
    known = {name: tenant(rng) for name in names}
    logs = {name: bc.simulate(sizes[name], random_seed=int(rng.integers(2**31)), **known[name]) for name in names}
    whole = {name: bc.simulate(TRUTH, random_seed=int(rng.integers(2**31)), **known[name]) for name in names}
    confidences = whole["t0"]["confidence"].values
    at = np.array([[*np.quantile(confidences[:, :-1], q, axis=0), -np.inf] for q in (0.3, 0.5, 0.7)])
    joint = bc.fit(bc.combine_tasks({name: logs[name] for name in names[: len(pooled)]}), random_seed=seed, **how)
    population = population_of(joint)
    rows = []
    for i, name in enumerate(names):
        truth = bc.score(whole[name], at)
        where = {"tenant": name, "queries": sizes[name], "first_pass": i < len(pooled)}
        fits = {
            "pooled": bc.fit(logs[name], population=population, random_seed=seed, **how),
            "independent": bc.fit(logs[name], random_seed=seed, **how),
        }
        if i < len(pooled):
            fits["joint"] = bc.select_task(joint, name)
        for way, fit in fits.items():
            rows += rows_of(fit, at, truth, **where, way=way)
        print(seed, name, flush=True)
    return rows


def against_the_joint_fit(table: pd.DataFrame, way: str) -> pd.DataFrame:
    """For each quantity: how far means and standard deviations are from the joint fit's, in those of the joint fit."""
    keys = ["seed", "tenant", "queries", "what", "which"]
    joint = table[table["way"] == "joint"].set_index(keys)
    other = table[(table["way"] == way) & table["first_pass"]].set_index(keys).loc[joint.index]
    found = pd.DataFrame(index=joint.index)
    for name in ("mean", "sd"):
        found[name] = (other[name] - joint[name]).abs() / joint["sd"]
        error = np.hypot(other[f"mcse_{name}"], joint[f"mcse_{name}"]) / joint["sd"]
        found[f"{name}_within"] = found[name] <= TOLERANCE + ERRORS * error
    return found.reset_index()


def beside_the_joint_fit(table: pd.DataFrame) -> list[str]:
    """Rows by quantity and size of the tenant."""
    lines = []
    found = {way: against_the_joint_fit(table, way) for way in ("pooled", "independent")}
    for what in [*(name for name in PARAMETERS if name in set(table["what"])), "error", "cost"]:
        for label, few in ((f"at most {FEW}", True), (f"more than {FEW}", False)):
            cells = []
            for way in ("pooled", "independent"):
                here = found[way]
                here = here[(here["what"] == what) & ((here["queries"] <= FEW) == few)]
                both = here["mean_within"] & here["sd_within"]
                cells += [f"{here['mean'].mean():.2f}", f"{here['sd'].mean():.2f}", f"{both.mean():.0%}"]
            lines.append(f"| {what.replace('_', ' ')} | {label} | {' | '.join(cells)} |")
    return lines


def near_the_truth(table: pd.DataFrame) -> list[str]:
    """Root mean square miss of the posterior mean of error and cost, and how often 90% intervals hold the truth."""
    lines = []
    known = table[table["truth"].notnull()].copy()
    known["miss"] = (known["mean"] - known["truth"]).where(
        known["what"] == "error", known["mean"] / known["truth"] - 1.0
    )
    known["held"] = (known["mean"] - known["truth"]).abs() <= 1.645 * known["sd"]
    groups = {
        f"first pass, at most {FEW}": known["first_pass"] & (known["queries"] <= FEW),
        f"first pass, more than {FEW}": known["first_pass"] & (known["queries"] > FEW),
        f"later, at most {FEW}": ~known["first_pass"],
    }
    for what in ("error", "cost"):
        for group, here in groups.items():
            cells = []
            for way in WAYS:
                rows = known[here & (known["what"] == what) & (known["way"] == way)]
                miss = np.sqrt((rows["miss"] ** 2).mean()) if len(rows) else np.nan
                cells += [f"{miss:.1%}", f"{rows['held'].mean():.0%}"] if len(rows) else ["", ""]
            lines.append(f"| {what} | {group} | {' | '.join(cells)} |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Measure populations that are not there yet, and write the page of all."""
    run = parse("tenants", __doc__, argv, seeds=range(3))
    warnings.simplefilter("ignore", bc.CascadeWarning)
    rows = run.rows(("seed",))
    quick: dict[str, Any] = {"draws": 50, "chains": 2, "progressbar": False, "difficulty": False}
    for (seed,) in rows.missing((seed,) for seed in (run.seeds[:1] if run.quick else run.seeds)):
        sizes = ((20, 30), (15,)) if run.quick else (POOLED, LATER)
        rows.add((seed,), measured(seed, *sizes, **(quick if run.quick else HOW)))
    run.write(page(rows.table))


def page(table: pd.DataFrame) -> str:
    """All populations so far."""
    found = against_the_joint_fit(table, "pooled")
    both = found["mean_within"] & found["sd_within"]
    worst = found.loc[found["mean"].idxmax()]
    n = table["seed"].nunique()
    sizes = ", ".join(map(str, POOLED))
    return f"""# Pooled tenants

`python -m studies.tenants.run`: {n} populations of tenants of three stages, simulated. Eight of each, with {sizes} labelled queries, are fitted jointly, alone,
and alone under the population of the joint fit, as `fit_tasks(..., pool=8)` does. Four more, with {", ".join(map(str, LATER))}, come later. The model is the default one, {HOW["chains"]} x {HOW["draws"]} draws.

## Beside the joint fit

How far the posterior means and standard deviations are from those of the joint fit, in standard deviations of the joint fit: averages over tenants, and how many are within the tolerance.

The tolerance was set before the run: {TOLERANCE:.2f} standard deviations and {ERRORS:.0f} Monte Carlo standard errors of the difference. A tenant of the first pass is in its own prior, which moves
that by one of eight parts of what its log says. Twice this is allowed, because the prior is a normal distribution, too, where the joint fit averages over what it does not know of the population.

| | queries | pooled: mean off by | sd off by | within | independent: mean off by | sd off by | within |
|---|---|---|---|---|---|---|---|
{chr(10).join(beside_the_joint_fit(table))}

Of all {len(found)} quantities of pooled fits {both.mean():.1%} are within. The largest difference of means is {worst["mean"]:.2f} standard deviations ({str(worst["what"]).replace("_", " ")}, a tenant with {worst["queries"]} queries).

## Beside the truth

Error and cost at three threshold vectors, against those counted from {TRUTH:,} queries of each tenant: root mean square miss (of cost, relative), and how many truths are within 1.645 posterior standard deviations.

| | tenants | joint: miss | held | pooled: miss | held | independent: miss | held |
|---|---|---|---|---|---|---|---|
{chr(10).join(near_the_truth(table))}
"""


if __name__ == "__main__":
    main()
