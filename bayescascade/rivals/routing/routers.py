"""Rivals that choose between a small and a large model under a budget.

All play the same stream (`streams.play_stream`) and differ in the score alone. A router scores what was asked and
pays for the model it calls; a cascade scores what the small model answered and pays for both where it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.cascade.rules import Route
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.logs.complete import ran_all
from bayescascade.logs.texts import ANSWER
from bayescascade.logs.validate import validate_log
from bayescascade.rivals.base import complete_arrays
from bayescascade.rivals.routing.streams import Fixed, Rule, play_stream
from bayescascade.rivals.routing.text_models import TextModel, answer_features, need_sklearn, query_features
from bayescascade.runtime.two_tier import Dynamic, check_costs, large_share

THRESHOLDS = ("dynamic", "fixed")

Scorer = Callable[[xr.Dataset], np.ndarray]


@dataclass(frozen=True)
class StreamDecisions:
    """A stream under budgets, one for each point.

    Attributes
    ----------
    pair : tuple of int
        Numbers of the small and the large model among the log's stages.
    costs : tuple of float
        Of a call to each, as learnt; what is budgeted with.
    cascade : bool
        Whether the small model is called before a query is escalated.
    shares : ndarray (point,)
        Where each budget stands between all-small (0) and all-large (1).
    score : callable
        Scores (query,) of a log of the two stages.
    rule : callable
        The rule of the threshold for a share of queries that may be escalated.
    """

    pair: tuple[int, int]
    costs: tuple[float, float]
    cascade: bool
    shares: np.ndarray
    score: Scorer
    rule: Callable[[float], Rule]

    @property
    def budgets(self) -> np.ndarray:
        """Money for each query (point,)."""
        return self.costs[0] + self.shares * (self.costs[1] - self.costs[0])

    def decide(self, log: xr.Dataset) -> Route:
        """Play the log's queries in their order, once for each budget."""
        two = two_stages(log, self.pair)
        if self.cascade and two["confidence"].isel(stage=0).isnull().any():
            raise CascadeError(
                f"stage {two['stage'].values[0]!r} was not run for some queries of the log, and this method "
                "starts with it; choose queries that ran it."
            )
        scores = self.score(two)
        reach, accepted = np.zeros((2, len(self.shares), log.sizes["stage"], two.sizes["query"]), dtype=bool)
        stages = _numbers(self.pair, log.sizes["stage"])
        for i, budget in enumerate(self.budgets):
            rule = self.rule(large_share(budget, self.costs, cascade=self.cascade))
            who, called = play_stream(scores, budget, self.costs, cascade=self.cascade, rule=rule)
            reach[i, stages], accepted[i, stages] = called, who == np.array([[0], [1]])
        return Route(reach, accepted)


@dataclass(frozen=True)
class Stream:
    """Options of every method here.

    Attributes
    ----------
    n_points : int
        Budgets, evenly spaced from all-small to all-large.
    pair : tuple of int
        Numbers of the small and the large model among the log's stages; the others are never run.
    threshold : str
        ``"dynamic"``: from the scores of the stream so far, as published. ``"fixed"``: the quantile of the
        training log's scores (out of fold, where they are learnt).
    warm_up : int
        Queries until there is a dynamic threshold: 10 in the paper, 21 in its code.
    """

    n_points: int = 21
    pair: tuple[int, int] = (0, -1)
    threshold: str = "dynamic"
    warm_up: int = 10
    sees_test: bool = False

    def decisions(self, two: xr.Dataset, cascade: bool, score: Scorer, seen: np.ndarray) -> StreamDecisions:
        """Decisions by a score on the two stages of the training log, whose scores are ``seen``."""
        if self.n_points < 2:
            raise CascadeError(
                option("n_points", self.n_points) + ": a frontier of budgets has two ends; choose at least 2.",
                parameter="n_points",
                value=self.n_points,
                hint="choose at least 2",
            )
        if self.threshold not in THRESHOLDS:
            hint = f"choose one of {', '.join(map(repr, THRESHOLDS))}"
            raise bad_value("threshold", self.threshold, hint, "is not known")
        # of every call, as `complete_arrays` has it; but no label is needed for them
        small, large = validate_log(two)["cost"].mean("query").transpose("stage").values
        costs = check_costs((small, large))
        known, fixed = np.sort(seen).tolist(), self.threshold == "fixed"

        def rule(share: float) -> Rule:
            return Fixed(Dynamic(1).threshold(known, share)) if fixed else Dynamic(self.warm_up)

        return StreamDecisions(self.pair, costs, cascade, np.linspace(0.0, 1.0, self.n_points), score, rule)


@dataclass(frozen=True)
class RandomRouting(Stream):
    """The large model with the probability that the budget allows, drawn without a look at the query.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.routing.routers import RandomRouting
    >>> log = bc.load_example()
    >>> played = RandomRouting(n_points=3).fit(log).decide(log)
    >>> played.accepted[:, 2].mean(axis=1).round(1).tolist()
    [0.0, 0.5, 1.0]
    """

    name: str = "random_routing"
    needs_text: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StreamDecisions:
        """Learn the costs."""

        def score(two: xr.Dataset) -> np.ndarray:
            return np.random.default_rng(random_seed).uniform(size=two.sizes["query"])

        drawn = self.decisions(two_stages(train, self.pair), False, score, np.empty(0))
        return replace(drawn, rule=Fixed)  # uniform scores lie below a share with that probability


@dataclass(frozen=True)
class MarginSampling(Stream):
    """A cascade by the small model's own confidence: the margin, where that is what the log holds.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.routing.routers import MarginSampling
    >>> log = bc.load_example()
    >>> played = MarginSampling(n_points=3).fit(log).decide(log)
    >>> played.reach[0].mean(axis=1).tolist(), played.reach[2].mean(axis=1).tolist()  # all-small, all-large
    ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0])

    References
    ----------
    Ramirez, Birch & Titov (2024), arXiv:2405.02134.
    """

    name: str = "margin_sampling"
    needs_text: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StreamDecisions:
        """Learn the costs; labels are not used."""
        two = two_stages(train, self.pair)
        seen = own_confidence(two)
        return self.decisions(two, True, own_confidence, seen[~np.isnan(seen)])


@dataclass(frozen=True)
class _Reader(Stream):
    model: TextModel = field(default_factory=TextModel)
    needs_text: bool = True

    def _learnt(
        self, two: xr.Dataset, cascade: bool, features: Callable[[xr.Dataset], Any], target: str, random_seed: int
    ) -> StreamDecisions:
        need_sklearn()
        whole = two.isel(query=ran_all(two))
        # says what is wrong with a log that cannot be learnt from
        complete_arrays(whole if whole.sizes["query"] else two)
        small, large = whole["correct"].transpose("stage", "query").values
        right = small >= large if target == "as good" else small > 0.5
        if self.threshold == "fixed":
            fitted, seen = self.model.out_of_fold(features(whole), right, random_seed=random_seed)
        else:
            fitted, seen = self.model.fit(features(whole), right, random_seed=random_seed), np.empty(0)
        return self.decisions(two, cascade, lambda log: fitted.predict(features(log)), seen)


@dataclass(frozen=True)
class Routing(_Reader):
    """A router by whether the small model will be right, told from what is asked.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.routing.routers import Routing
    >>> log = bc.load_example()
    >>> hard = log["correct"].values[:, 0] < 0.5
    >>> log["prompt"] = ("query", [f"a {'hard' if h else 'simple'} one" for h in hard])
    >>> played = Routing(n_points=3).fit(log).decide(log)
    >>> large = played.accepted[1, 2]
    >>> bool(large[hard].mean() > large[~hard].mean() + 0.3)
    True

    References
    ----------
    Sakota, Peyrard & West (2023), arXiv:2308.06077; Lu et al. (2023), arXiv:2311.08692.
    """

    name: str = "routing"

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StreamDecisions:
        """Learn P(small model right) from the prompts."""
        return self._learnt(two_stages(train, self.pair), False, query_features, "right", random_seed)


@dataclass(frozen=True)
class HybridLLM(_Reader):
    """A router by whether the small model will do at least as well as the large one, told from what is asked.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.routing.routers import HybridLLM
    >>> log = bc.load_example()
    >>> worse = log["correct"].values[:, 0] < log["correct"].values[:, 2]
    >>> log["prompt"] = ("query", [f"a {'hard' if w else 'simple'} one" for w in worse])
    >>> score = HybridLLM().fit(log).score(log)  # P(at least as well)
    >>> bool(score[worse].max() < score[~worse].min())
    True

    References
    ----------
    Ding et al. (2024), Hybrid LLM, arXiv:2404.14618.
    """

    name: str = "hybrid_llm"

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StreamDecisions:
        """Learn P(small model as good as the large one) from the prompts."""
        return self._learnt(two_stages(train, self.pair), False, query_features, "as good", random_seed)


@dataclass(frozen=True)
class FrugalGPT(_Reader):
    """A cascade of two by whether the small model's answer is right, told from what was asked and answered.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.routing.routers import FrugalGPT
    >>> log = bc.load_example()
    >>> right = log["correct"].values > 0.5
    >>> log["prompt"] = ("query", ["which city?"] * 300)
    >>> log["answer"] = (("query", "stage"), [["Paris" if r else "no idea" for r in row] for row in right])
    >>> score = FrugalGPT().fit(log).score(log.isel(stage=[0, 2]))
    >>> bool(score[right[:, 0]].min() > score[~right[:, 0]].max())
    True

    Attributes
    ----------
    confidence : bool
        Whether the small model's own confidence is a feature too. Off, as published.

    Notes
    -----
    The answer is read where the training log has the variable ``answer`` (see `prompts.with_answers`); without it,
    the query and the confidence are all there is.

    References
    ----------
    Chen, Zaharia & Zou (2023), FrugalGPT, arXiv:2305.05176.
    """

    name: str = "frugalgpt"
    confidence: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StreamDecisions:
        """Learn P(small model's answer right) from prompts and answers."""
        features = partial(answer_features, stage=0, answer=ANSWER in train, confidence=self.confidence)
        return self._learnt(two_stages(train, self.pair), True, features, "right", random_seed)


def own_confidence(two: xr.Dataset) -> np.ndarray:
    """The small model's confidence (query,)."""
    return two["confidence"].transpose("query", "stage").values[:, 0]


def _numbers(pair: tuple[int, int], n_stages: int) -> np.ndarray:
    if len(pair) != 2 or not all(-n_stages <= j < n_stages for j in pair):
        raise bad_value("pair", pair, problem=f"should be the numbers of two of the log's {n_stages} stages")
    numbers = np.arange(n_stages)[list(pair)]
    if numbers[0] == numbers[1]:
        raise bad_value("pair", pair, "choose two", "is one stage twice")
    return numbers


def two_stages(log: xr.Dataset, pair: tuple[int, int]) -> xr.Dataset:
    """The two stages of a log."""
    return log.isel(stage=_numbers(pair, log.sizes["stage"]))
