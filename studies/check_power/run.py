"""Power of the checks: logs that break one assumption each, and how often each check then fails.

Run from the project's root: ``python -m studies.check_power.run``. Writes
``docs/evidence/check_power.md``. `simulate` draws from the model only, so the violations are drawn here.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import expit

import bayescascade as bc
from bayescascade.checks.calibration import check_calibration, check_own_signal
from bayescascade.checks.dependence import check_dependence
from bayescascade.checks.evidence import gather
from bayescascade.checks.loo import check_loo
from bayescascade.checks.power_scaling import check_sensitivity
from bayescascade.checks.signals import check_margins
from bayescascade.model.copulas.family import get_family
from studies.common.command import parse

N_QUERIES = 300
STAGES = ["small", "medium", "large"]
MEAN = np.array([1.0, 1.8, 2.6])  # of the signals
INTERCEPT = np.array([0.2, 1.1, 2.0])  # logit of P(correct) at the mean signal
SLOPE = 1.2
TAU = 0.4
ATOM = 0.2  # share of queries with a confidence of exactly 1, where there are any


INTRODUCTION = """# Power of the checks

How often each check fails on logs of {queries} labelled queries and three stages, fitted with the default options
(2 chains of 250 draws after 250), {n} logs in each row. Each check rejects at the 1% level over all its rows together. On
logs from the model it should fail in about 1% of them or fewer. That means none, one or two of {n} logs. The
check that should find the fault is in bold. An entry p has a standard error of sqrt(p (1 - p) / {n}).
"""
REMARKS = """
What the rows mean:

- *Second order*: both links are Gumbel, as in the model. In addition, stages 1 and 3 depend on each other given stage 2.
- *Clayton* and *Joe* have the same tau as the Gumbel that is fitted to them. Clayton has the opposite tail. Joe has the
  same tail as Gumbel, and 300 queries distinguish the two in only a third of the logs.
- *Just below the top atom*: the default calibration gives the top atom an offset of its own. So an atom that is merely
  far from the curve is no violation: the last row shows that the model follows and that no check fails. The model
  cannot follow a curve that falls before the atom. If an atom's accuracy drifts along the log, it looks like its mean,
  because no check here looks at time.
- If the links have the wrong family, the other checks are based on a wrong model of the confidences.
- Convergence is left out: 2 chains of 250 draws are too few for its limits, on purpose.

Made by `python -m studies.check_power.run --replications {n}` in {minutes:.0f} minutes.
"""


def after(u: np.ndarray, p: np.ndarray, family: str, tau: float) -> np.ndarray:
    """The later side of a link, at level ``p`` of its distribution given the earlier side."""
    return np.clip(get_family(family).hinv1(p, u, tau), 1e-12, 1.0 - 1e-12)


def chain(rng: np.random.Generator, family: str = "gumbel", tau: float = TAU, atom: float = 0.0) -> np.ndarray:
    """Uniforms (query, stage) of a Markov chain. What follows an atom sees its value alone."""
    u = [rng.uniform(size=N_QUERIES)]
    for _ in STAGES[1:]:
        seen = np.where(u[-1] > 1.0 - atom, rng.uniform(1.0 - atom, 1.0, N_QUERIES), u[-1])
        u.append(after(seen, rng.uniform(size=N_QUERIES), family, tau))
    return np.stack(u, axis=1)


def logits(u: np.ndarray, atom: float = 0.0) -> np.ndarray:
    """Logit of P(correct) by the model (query, stage); one number at an atom."""
    signal = np.log(u) - np.log1p(-u)
    return INTERCEPT + SLOPE * np.where(u > 1.0 - atom, np.log(1.0 - atom / 2) - np.log(atom / 2 or 1.0), signal)


def make_log(u: np.ndarray, logit: np.ndarray, rng: np.random.Generator, atom: float = 0.0) -> xr.Dataset:
    """A log from uniforms and logits (query, stage)."""
    confidence = np.where(u > 1.0 - atom, 1.0, expit(MEAN + np.log(u) - np.log1p(-u)))
    correct = (rng.uniform(size=u.shape) < expit(logit)).astype(float)
    cost = np.array([1.0, 5.0, 25.0]) * rng.lognormal(0.0, 0.2, u.shape)
    dims = ("query", "stage")
    return xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct), "cost": (dims, cost)},
        coords={"query": np.arange(len(u)), "stage": STAGES},
        attrs={"confidence_kind": "probability"},
    )


@dataclass(frozen=True)
class Scenario:
    """How to draw a log, what is wrong with it, and which check should say so."""

    what: str
    finds: str
    draw: Callable[[np.random.Generator], xr.Dataset]


def nothing(rng: np.random.Generator) -> xr.Dataset:
    """A log from the model, without atoms."""
    u = chain(rng)
    return make_log(u, logits(u), rng)


def nothing_with_atoms(rng: np.random.Generator) -> xr.Dataset:
    """A log from the model whose stages have a top atom."""
    u = chain(rng, atom=ATOM)
    return make_log(u, logits(u, ATOM), rng, ATOM)


def second_order(rng: np.random.Generator) -> xr.Dataset:
    """A D-vine: both links stay Gumbel, and stages 1 and 3 have a Gaussian copula given stage 2."""
    u = chain(rng)
    first = get_family("gumbel").hfunc1(u[:, 1], u[:, 0], TAU)
    u[:, 2] = after(u[:, 1], after(first, rng.uniform(size=N_QUERIES), "gaussian", 0.25), "gumbel", TAU)
    return make_log(u, logits(u), rng)


def previous_signal(rng: np.random.Generator) -> xr.Dataset:
    """Stage 3's correctness depends on stage 2's signal, too."""
    u = chain(rng)
    logit = logits(u)
    logit[:, 2] += 0.8 * (np.log(u) - np.log1p(-u))[:, 1]
    return make_log(u, logit, rng)


def of_family(family: str) -> Callable[[np.random.Generator], xr.Dataset]:
    """Logs of another family, tau 0.6."""

    def draw(rng: np.random.Generator) -> xr.Dataset:
        u = chain(rng, family, 0.6)
        return make_log(u, logits(u), rng)

    return draw


def below_the_atom(rng: np.random.Generator) -> xr.Dataset:
    """Stage 2 is right 35% of the time for the fifth of the queries next below its top atom."""
    u = chain(rng, atom=ATOM)
    logit = logits(u, ATOM)
    logit[(u[:, 1] > 1.0 - 2 * ATOM) & (u[:, 1] <= 1.0 - ATOM), 1] = np.log(0.35 / 0.65)
    return make_log(u, logit, rng, ATOM)


def far_atom(rng: np.random.Generator) -> xr.Dataset:
    """Stage 2 is right half the time at its top atom, far below its curve."""
    u = chain(rng, atom=ATOM)
    logit = logits(u, ATOM)
    logit[u[:, 1] > 1.0 - ATOM, 1] = 0.0
    return make_log(u, logit, rng, ATOM)


SCENARIOS = {
    "model": Scenario("from the model", "", nothing),
    "atoms": Scenario("from the model, top atoms of 20%", "", nothing_with_atoms),
    "order": Scenario("second-order dependence: partial tau 0.25 of stages 1 and 3", "dependence", second_order),
    "previous": Scenario("correctness at stage 3 depends on stage 2's signal", "own signal", previous_signal),
    "clayton": Scenario("links are Clayton, tau 0.6, and fitted as Gumbel", "dependence", of_family("clayton")),
    "joe": Scenario("links are Joe, tau 0.6, and fitted as Gumbel", "dependence", of_family("joe")),
    "top": Scenario("stage 2 is right 35% of the time just below its top atom", "calibration", below_the_atom),
    "atom": Scenario("stage 2 is right 50% of the time at its top atom: the offset follows", "", far_atom),
}
CHECKS = {
    "margins": check_margins,
    "calibration": check_calibration,
    "dependence": check_dependence,
    "own signal": check_own_signal,
    "sensitivity": check_sensitivity,
    "loo": check_loo,
}


def verdicts(name: str, replication: int) -> dict[str, bool | None]:
    """Fit one log of a scenario, and what each check says of it."""
    log = SCENARIOS[name].draw(np.random.default_rng([2026, replication, list(SCENARIOS).index(name)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # so few draws do not satisfy R-hat
        fit = bc.fit(
            log, difficulty=False, draws=250, tune=250, chains=2, random_seed=replication, progressbar=False
        )
    evidence = gather(fit)
    return {
        check: run(evidence, np.random.default_rng([replication, i])).passed
        for i, (check, run) in enumerate(CHECKS.items())
    }


def power(replications: int, names: Iterable[str] = SCENARIOS) -> pd.DataFrame:
    """Share of logs of each scenario on which each check fails (scenario, check)."""
    shares = {}
    for name in names:
        start = time.perf_counter()
        found = pd.DataFrame([verdicts(name, r) for r in range(replications)])
        shares[name] = (found == False).mean()  # noqa: E712  None is no failure
        print(f"{name}: {time.perf_counter() - start:.0f} s", shares[name].to_dict(), flush=True)
    return pd.DataFrame(shares).T[list(CHECKS)]


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("check_power", __doc__, argv, replications=60)
    replications = 1 if run.quick else run.replications
    start = time.perf_counter()
    table = power(replications, list(SCENARIOS)[:1] if run.quick else SCENARIOS)
    rows = ["| log | " + " | ".join(CHECKS) + " |", "|---|" + "---|" * len(CHECKS)]
    for name, shares in table.iterrows():
        scenario = SCENARIOS[str(name)]
        cells = [f"**{shares[c]:.0%}**" if c == scenario.finds else f"{shares[c]:.0%}" for c in CHECKS]
        rows.append(f"| {scenario.what} | {' | '.join(cells)} |")
    minutes = (time.perf_counter() - start) / 60
    text = f"{INTRODUCTION}\n{chr(10).join(rows)}\n{REMARKS}"
    run.write(text.format(n=replications, queries=N_QUERIES, minutes=minutes))


if __name__ == "__main__":
    main()
