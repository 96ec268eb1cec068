"""Logs and served queries of a simulated cascade, as it was and as something moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import expit

from bayescascade.cascade.reference import reference_of
from bayescascade.cascade.rules import DecisionRule
from bayescascade.runtime.policy import Policy

STAGES = ["small", "medium", "large"]
THRESHOLDS = [0.0, 0.2, float("-inf")]
# The limit of the error is just above the rate of the world as it was (0.2479, of four million queries): the level
# is hardest to keep there.
GIVEN = {"max_error": 0.2485, "prob": 0.9}


@dataclass(frozen=True)
class World:
    """Three stages whose confidences are a normal Markov chain, beside what may move, each by stage.

    Attributes
    ----------
    shift : confidences go up by it, and nothing else
    mix : queries get easier by it for the first stage, in its standard deviations; the others follow as they do
    rho : correlations of consecutive confidences
    skill : log odds of a right answer go up by it, at the same confidence
    price, slow : factors of cost and latency
    """

    shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    mix: float = 0.0
    rho: tuple[float, ...] = (0.6, 0.6)
    skill: tuple[float, ...] = (0.0, 0.0, 0.0)
    price: tuple[float, ...] = (1.0, 1.0, 1.0)
    slow: tuple[float, ...] = (1.0, 1.0, 1.0)

    def log(self, n: int, rng: np.random.Generator) -> xr.Dataset:
        """A log with every stage run and labelled."""
        z = [rng.normal(self.mix, 1.0, n)]
        for r in self.rho:
            z.append(r * z[-1] + np.sqrt(1.0 - r * r) * rng.normal(size=n))
        signal = np.stack(z, axis=1)
        right = expit([0.7, 0.9, 1.3] + 1.2 * signal + self.skill)
        values = {
            "confidence": signal + self.shift,
            "correct": (rng.uniform(size=right.shape) < right).astype(float),
            "cost": rng.gamma(4.0, 0.25, right.shape) * np.multiply([0.1, 0.5, 2.5], self.price),
            "latency": np.exp(rng.normal(0.0, 0.4, right.shape)) * np.multiply([0.2, 0.5, 1.5], self.slow),
        }
        return xr.Dataset(
            {name: (("query", "stage"), value) for name, value in values.items()},
            coords={"query": np.arange(n), "stage": STAGES},
            attrs={"confidence_kind": "score"},
        )


def policy_of(
    log: xr.Dataset, thresholds: Sequence[float] = THRESHOLDS, limit: float = GIVEN["max_error"]
) -> Policy:
    """The policy with the manifest of a log; its error is expected as the log's own labels tell, without a fit."""
    stages, kind = [str(name) for name in log["stage"].values], str(log.attrs["confidence_kind"])
    rule = DecisionRule.from_any(list(thresholds), stages, kind)
    wrong = rule.apply(log["confidence"].values).loss(1.0 - log["correct"].values)[0]
    n, k = len(wrong) + 1.0, wrong.sum() + 0.5
    error = {"mean": k / n, "sd": np.sqrt(k / n * (1.0 - k / n) / (n + 1.0))}
    goal = GIVEN | {"max_error": limit}
    manifest = {"promise": goal, "expected": {"error": error}, "reference": reference_of(log, rule)}
    return Policy(stages, list(thresholds), kind, {"goal": goal}, manifest=manifest)


def served_of(policy: Policy, logs: Sequence[xr.Dataset], labels: float = 1.0) -> xr.Dataset:
    """What is seen of logs, one after another, while the policy runs: stages that it calls, answers' labels.

    Only a share of the answers gets a label, every tenth for 0.1.
    """
    log = xr.concat(logs, dim="query").assign_coords(query=np.arange(sum(part.sizes["query"] for part in logs)))
    log = log.transpose("query", "stage", ...)
    route = DecisionRule.from_any(policy, policy.stages, policy.confidence_kind).apply(log["confidence"].values)
    reach, accepted = (xr.DataArray(x[0].T, dims=("query", "stage")) for x in (route.reach, route.accepted))
    graded = accepted & (log["query"] % round(1.0 / labels) == 0)
    seen = log.where(reach)
    return seen.assign(correct=log["correct"].where(graded)).assign_attrs(confidence_kind=policy.confidence_kind)
