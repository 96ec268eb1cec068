"""FrugalGPT as published: which stages, in which order, and thresholds on a learnt score, found by search."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise, permutations
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bayescascade._common.pareto import efficient
from bayescascade.cascade.rules import Route
from bayescascade.errors import CascadeError
from bayescascade.logs.complete import ran_all
from bayescascade.logs.texts import ANSWER
from bayescascade.rivals.base import complete_arrays, route_subsets, spread
from bayescascade.rivals.routing.text_models import TextModel, answer_features, need_sklearn


class Candidate(NamedTuple):
    """Stages in the order of calls, and below which score each but the last defers."""

    order: tuple[int, ...]
    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class FrugalDecisions:
    """A frontier of cascades: ``points`` by rising cost on the training log, ``scorers`` for each stage."""

    points: list[Candidate]
    scorers: list[Any]
    answer: bool
    confidence: bool

    def decide(self, log: xr.Dataset) -> Route:
        """Run every point's cascade; only stages that can defer in some point are scored."""
        n, n_stages = log.sizes["query"], log.sizes["stage"]
        if n_stages != len(self.scorers):
            raise CascadeError(f"the log has {n_stages} stages but the training log had {len(self.scorers)}.")
        needed = {stage for point in self.points for stage in point.order[:-1]}
        scores = np.full((n, n_stages), np.nan)
        for j in needed:
            features = answer_features(log, j, answer=self.answer, confidence=self.confidence)
            scores[:, j] = self.scorers[j].predict(features)
        orders = [point.order for point in self.points]
        return route_subsets(scores, orders, [np.array([*point.thresholds, -np.inf]) for point in self.points])


@dataclass(frozen=True)
class FrugalCascade:
    """FrugalGPT with up to three stages, its order and thresholds searched.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.routing.frugal import FrugalCascade
    >>> log = bc.load_example()
    >>> hard = log["correct"].values[:, 0] < 0.5
    >>> log["prompt"] = ("query", [f"a {'hard' if h else 'simple'} one" for h in hard])
    >>> FrugalCascade().fit(log).points[0].order  # the cheapest of the frontier
    (0,)

    Attributes
    ----------
    model : TextModel
        Learns P(answer right) of each stage, from what was asked and answered.
    confidence : bool
        Whether a stage's own confidence is a feature too. Off, as published.
    max_length : int
        Stages of a cascade, at most: 3 as published.
    n_levels : int
        Thresholds that are tried at each stage: quantiles of its scores.
    min_disagreement : float
        Cascades are passed over where a stage corrects less than this share of the queries that the one before it
        gets wrong; as published, lists of models that hardly disagree are not searched.
    n_points : int
        Of the frontier.

    Notes
    -----
    Thresholds are chosen on scores out of fold: a scorer knows its own training texts too well. The frontier is
    what errs least for each cost on the training log; the last stage of a cascade is not scored.

    References
    ----------
    Chen, Zaharia & Zou (2023), FrugalGPT, arXiv:2305.05176.
    """

    model: TextModel = field(default_factory=TextModel)
    confidence: bool = False
    max_length: int = 3
    n_levels: int = 20
    min_disagreement: float = 0.02
    n_points: int = 50
    name: str = "frugalgpt_cascade"
    needs_text: bool = True
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> FrugalDecisions:
        """Learn a scorer for each stage, then search.

        Raises
        ------
        CascadeError
            If there are no prompts, no query has every stage run and labelled, or scikit-learn is not installed.
        """
        need_sklearn()
        known = complete_arrays(train)
        whole = train.isel(query=ran_all(train))
        answer = ANSWER in whole
        scorers, scores = [], np.empty_like(known.wrong)
        for j in range(known.wrong.shape[1]):
            features = answer_features(whole, j, answer=answer, confidence=self.confidence)
            right = known.wrong[:, j] < 0.5
            fitted, scores[:, j] = self.model.out_of_fold(features, right, random_seed=random_seed)
            scorers.append(fitted)
        candidates, error, cost = self.search(scores, known.wrong, known.cost)
        keep = spread(efficient(error, cost), cost, self.n_points)
        return FrugalDecisions([candidates[i] for i in keep], scorers, answer, self.confidence)

    def search(
        self, scores: np.ndarray, wrong: np.ndarray, cost: np.ndarray
    ) -> tuple[list[Candidate], np.ndarray, np.ndarray]:
        """Every cascade, with its error and cost per query on scores and labels (query, stage)."""
        n, n_stages = scores.shape
        levels = [np.unique(np.quantile(s, np.linspace(0.0, 1.0, self.n_levels + 1)[1:])) for s in scores.T]
        # (level, query) of each stage
        deferred = [(s < t[:, None]).astype(float) for s, t in zip(scores.T, levels, strict=True)]
        candidates, error, spent = [], [], []
        for length in range(1, min(self.max_length, n_stages) + 1):
            for order in permutations(range(n_stages), length):
                corrected = [(wrong[:, a] * (1.0 - wrong[:, b])).mean() for a, b in pairwise(order)]
                if min(corrected, default=1.0) < self.min_disagreement:
                    continue
                # from the last stage back: what remains to be lost and paid by a query that comes to it
                loss, pay = wrong[None, :, order[-1]], np.full((1, n), cost[order[-1]])
                for stage in reversed(order[:-1]):
                    on = deferred[stage][:, None]
                    loss = (wrong[:, stage] * (1.0 - on) + on * loss[None]).reshape(-1, n)
                    pay = (cost[stage] + on * pay[None]).reshape(-1, n)
                grid = np.meshgrid(*(levels[stage] for stage in order[:-1]), indexing="ij")
                at = np.stack([g.ravel() for g in grid], axis=1) if grid else np.empty((1, 0))
                candidates += [Candidate(order, tuple(row)) for row in at.tolist()]
                error.append(loss.mean(axis=1))
                spent.append(pay.mean(axis=1))
        return candidates, np.concatenate(error), np.concatenate(spent)
