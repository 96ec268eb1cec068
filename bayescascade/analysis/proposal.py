"""`propose`: new queries into the fit, and the thresholds that follow, as a proposal beside the policy in use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import xarray as xr

from bayescascade.analysis.policy_diff import PolicyDiff, diff
from bayescascade.errors import CascadeError, option
from bayescascade.inference.fit import fit as sample
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.solution import ThresholdSolution
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.tune import tune


@dataclass(frozen=True)
class Proposal:
    """What new queries make of a policy; nothing is applied.

    Attributes
    ----------
    fit : xarray.DataTree
        The fit with the new queries.
    solution : ThresholdSolution
        Tuned on it for the goal of the policy in use.
    policy : Policy, optional
        The proposed one; None where the goal can no longer be met. What the policy in use says of models, prompts
        and currency, it says too. ``policy.save(path)`` writes it.
    diff : PolicyDiff, optional
        From the policy in use to the proposed one, both judged by the new fit; None where there is none.
    text : str
        Both in words.
    """

    fit: xr.DataTree
    solution: ThresholdSolution
    policy: Policy | None
    diff: PolicyDiff | None
    text: str

    def __repr__(self) -> str:
        return self.text if self.diff is None else repr(self.diff)

    def _repr_html_(self) -> str:
        return self.solution._repr_html_() if self.diff is None else self.diff._repr_html_()


def propose(
    fit: xr.DataTree, new: xr.Dataset, policy: Policy, *, old_share: float = 1.0, **options: Any
) -> Proposal:
    """Bring a fit up to date with new queries, and propose thresholds for the goal of the policy in use.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> fit = bc.fit(log.isel(query=slice(290)), random_seed=1, progressbar=False)
    >>> policy = bc.tune(fit, error_price=20.0).to_policy()
    >>> found = bc.propose(fit, log.isel(query=slice(290, None)), policy, random_seed=1, progressbar=False)
    >>> found.fit["observed_data"].sizes["query"]
    300

    Parameters
    ----------
    fit : xarray.DataTree
        The fit that the policy was tuned on.
    new : xarray.Dataset
        A log of new queries only, such as served ones, some of them labelled.
    policy : Policy
        In use. Its ``metadata`` says the goal, as that of a policy made by ``to_policy`` does.
    old_share : float
        Share of the earlier queries to keep, in (0, 1]: below 1 old queries count for less.
    **options
        Of `bayescascade.fit`, such as ``random_seed`` and ``progressbar``.

    Returns
    -------
    Proposal
        Nothing is written or applied.

    Raises
    ------
    CascadeError
        For a policy without a goal, and for new queries that the fit cannot take, see `bayescascade.fit`.
    """
    goal = policy.metadata.get("goal")
    if not isinstance(goal, dict) or not goal:
        raise CascadeError(
            "the policy does not say what it was tuned for, so nothing can be proposed; tune it again with "
            + option("max_error")
            + " or another goal, and keep the file as it was written."
        )
    updated = sample(new, previous=fit, old_share=old_share, **options)
    # stages that somebody named stay as they are; others are chosen again
    stages = policy.stages if policy.metadata.get("stages_named") is True else None
    solution = tune(updated, **TuningSpec.arguments(goal), stages=stages)
    if not solution.feasible:
        return Proposal(updated, solution, None, None, "The goal can no longer be met. " + solution.text)
    proposed = _with_what_stays(solution.to_policy(), policy.manifest or {})
    found = diff(policy, proposed, fit=updated)
    return Proposal(updated, solution, proposed, found, found.text)


def _with_what_stays(proposed: Policy, old: dict[str, Any]) -> Policy:
    """The proposed policy, with what the manifest in use says that no fit knows."""
    models = old.get("models")
    known = models if isinstance(models, dict) else {}
    manifest = dict(proposed.manifest or {})
    manifest |= {name: old.get(name) for name in ("prompts", "currency")}
    manifest["models"] = {stage: known.get(stage) for stage in proposed.stages}
    return replace(proposed, manifest=manifest)
