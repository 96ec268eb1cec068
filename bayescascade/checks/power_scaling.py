"""Do prior and likelihood pull apart? The posterior's sensitivity to the power of each."""

from __future__ import annotations

import logging
from functools import partial

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.messages import joined
from bayescascade.checks.evidence import Evidence
from bayescascade.checks.results import CheckResult, verdict
from bayescascade.display import checks as pictures
from bayescascade.errors import in_python
from bayescascade.inference.power_scaling import thinned, why_not

SENSITIVE = 0.05  # ArviZ's limit, for prior and likelihood alike
# Shift of a posterior mean, in posterior standard deviations, for each unit of log power. In a conjugate normal
# model it is at most half the distance of prior and likelihood in standard deviations of their difference, so that
# at 1 they lie at least two of these apart.
CONFLICT = 1.0
_SIGNALS = ("tau_share", "tau_logit", "margin_split")
# the likelihood's parts and what each is about; where queries have a difficulty, it has one part
_NAMED = 3  # parameters that a sentence names
_BLOCKS: dict[str, tuple[str, ...]] = {"signal": ("tau",), "correct": ("intercept", "slope")}
_LATENT: dict[str, tuple[str, ...]] = {
    "joint": ("tau", "loading", "intercept", "slope", "discrimination", "unanswerable")
}


def check_sensitivity(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Sensitivity of tau, intercepts and slopes to the power of their prior and of their likelihood."""
    nothing = why_not(evidence.fit)
    if nothing:
        return CheckResult("sensitivity", None, pd.DataFrame(), nothing)
    tree = thinned(evidence.fit)
    about = _BLOCKS if evidence.few.loading is None else _LATENT
    found = {part: _of_block(tree, part, names) for part, names in about.items()}
    blocks = [block for block in found.values() if block is not None]
    unseen = [name for part, names in about.items() if found[part] is None for name in names]
    if not blocks:
        return CheckResult("sensitivity", None, pd.DataFrame(), "Skipped: the log is too short. Log more queries.")
    table = pd.concat(blocks)
    table.index.name = "quantity"
    conflict = table.index[(table["diagnosis"] == "conflict")]
    leaning = table.index[(table["prior"] >= SENSITIVE) & (table["diagnosis"] != "conflict")]
    weak = table.index[table["likelihood"] < SENSITIVE]
    picture = partial(pictures.sensitivity, table, SENSITIVE)
    if len(conflict):
        text: str = (
            f"Prior and data conflict about {joined(conflict)}: the posterior is a compromise that neither "
            f"supports (pull {table.loc[conflict, 'pull'].max():.1f}; from {CONFLICT:g} up it is a "
            "conflict). "
            "Look at the log for flipped labels or confidences, at "
            + in_python("plot_reliability and ")
            + "the other checks; if the log is right, fit with a wider prior of your own"
            + in_python(" from build_model", ", in Python")
            + "."
        )
        return CheckResult("sensitivity", False, table, text, picture)
    if len(leaning) or len(weak):
        parts = [
            f"the prior counts for {_some(leaning)}" if len(leaning) else "",
            f"the log says little about {_some(weak)}" if len(weak) else "",
        ]
        text = (
            f"Prior and data do not conflict, but {' and '.join(filter(None, parts))}. "
            "Label more queries, so that the data dominate."
        )
    else:
        text = "The priors have little influence; the data dominate."
    if unseen:
        text += f" Not tested: {joined(unseen)}; the log says nothing about them."
    return CheckResult("sensitivity", verdict([], unseen), table, text, picture)


def _some(names: pd.Index) -> str:
    """Some of the names; the table has all of them."""
    more = len(names) - _NAMED
    if more <= 1:
        return joined(names)
    return f"{', '.join(map(str, names[:_NAMED]))} and {more} others, which the table lists"


def _of_block(tree: xr.DataTree, factor: str, names: tuple[str, ...]) -> pd.DataFrame | None:
    """ArviZ's sensitivities of one block's quantities, and how hard prior and likelihood pull at each.

    None where prior or likelihood is flat, as on logs of a few queries whose margins have no splits.
    """
    prior = tree["log_prior"].to_dataset()
    prior = prior[[name for name in prior if factor == "joint" or (name in _SIGNALS) == (factor == "signal")]]
    likelihood = tree["log_likelihood"].to_dataset()[[factor]]
    powers = prior.to_array().sum("variable"), likelihood[factor].sum("query")
    if not all(float(power.std()) > 0.0 for power in powers):
        return None
    posterior = tree["posterior"].to_dataset()[list(names)]
    part = xr.DataTree.from_dict({"posterior": posterior, "log_prior": prior, "log_likelihood": likelihood})
    log = logging.getLogger("arviz_stats")
    level = log.level
    log.setLevel(logging.ERROR)  # what it warns of is what this check reports
    try:
        table = az.psense_summary(part, round_to=6)
    finally:
        log.setLevel(level)
    table = table[["prior", "likelihood"]].astype(float)
    shifts = [pd.concat([_shift(posterior[name], power) for name in posterior]).to_numpy() for power in powers]
    table["pull"] = np.where(shifts[0] * shifts[1] < 0.0, np.minimum(*np.abs(shifts)), 0.0)
    sensitive = (table["prior"] >= SENSITIVE) & (table["likelihood"] >= SENSITIVE)
    table["diagnosis"] = np.select(
        [sensitive & (table["pull"] >= CONFLICT), table["likelihood"] < SENSITIVE, table["prior"] >= SENSITIVE],
        ["conflict", "weak likelihood", "prior counts"],
        "",
    )
    return table


def _shift(values: xr.DataArray, power: xr.DataArray) -> pd.Series:
    """How far a mean moves, in standard deviations, for each unit of log power: a covariance."""
    dims = ("chain", "draw")
    shift = xr.cov(values, power, dims, ddof=0) / values.std(dims)
    return pd.Series(shift.values.ravel())
