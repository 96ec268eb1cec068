"""What the user asks `tune` for, checked, and turned into an `Objective`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bayescascade._common.validation import (
    check_batch,
    check_doubt,
    check_positive,
    check_prob,
    check_worth_abstaining,
)
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.induction.backward_induction import optimal_loss
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.objective import Objective

RISKS = ("mean", "cvar", "regret")
_LIMITS = option("max_error") + ", " + option("max_cost") + " or " + option("max_latency")


@dataclass(frozen=True)
class TuningSpec:
    """Specification of a tuning problem: the arguments of `tune` that say what is wanted, as they were given."""

    error_price: float | None = None
    max_error: float | None = None
    max_cost: float | None = None
    max_latency: float | None = None
    prob: float = 0.9
    batch: int | None = None
    risk: str = "mean"
    alpha: float = 0.1
    abstain_price: float | None = None
    latency_price: float | None = None
    doubt: float = 0.0

    def __post_init__(self) -> None:
        for name in ("error_price", "max_error", "max_cost", "max_latency", "abstain_price", "latency_price"):
            check_positive(name, getattr(self, name))
        self._check_aims()
        check_doubt(self.doubt, risk=self.risk if self.risk == "regret" else None)
        check_prob("prob", self.prob)
        check_batch(self.batch)
        if self.batch is not None and not self.bounds:
            raise CascadeError(
                "{} makes a promise about the next queries, but there is no limit; give {}, or leave {} out.",
                (option("batch", self.batch), _LIMITS, option("batch")),
                parameter="batch",
                value=self.batch,
            )
        if self.risk not in RISKS:
            raise bad_value("risk", self.risk, f"choose one of {', '.join(map(repr, RISKS))}", "is not known")
        if not 0.0 < self.alpha <= 1.0:
            raise bad_value("alpha", self.alpha, "give the share of worst draws to average, in (0, 1]")
        if self.risk == "regret" and self.error_price is None:
            raise CascadeError(
                "{} compares losses in money; give {} too, what an error costs.",
                (option("risk", "regret"), option("error_price")),
                parameter="error_price",
            )

    @classmethod
    def arguments(cls, goal: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in a goal as `stated` gives it, read from a policy, which may hold other things, too."""
        known = {f.name for f in fields(cls)}
        return {name: value for name, value in goal.items() if name in known}

    def _check_aims(self) -> None:
        if self.max_error is not None and self.max_error >= 1.0:
            raise bad_value("max_error", self.max_error, "give a share of wrong answers below 1, such as 0.1")
        if self.error_price is None and not self.bounds:
            raise CascadeError("no goal given: use " + option("error_price") + ", " + _LIMITS + ", or several.")
        for name in ("abstain_price", "latency_price"):
            if getattr(self, name) is not None and self.error_price is None and self.max_error is None:
                raise CascadeError(
                    "{} is money, but with {} or {} alone what is minimised is the error, which has no price; "
                    "give {} too.",
                    (option(name), option("max_cost"), option("max_latency"), option("error_price")),
                    parameter="error_price",
                )
        check_worth_abstaining(self.abstain_price, self.error_price)

    @property
    def bounds(self) -> tuple[tuple[str, float], ...]:
        """The chance constraint's amounts and their bounds."""
        given = (("error", self.max_error), ("cost", self.max_cost), ("latency", self.max_latency))
        return tuple((name, float(bound)) for name, bound in given if bound is not None)

    @property
    def cheapest(self) -> bool:
        """Whether what is minimised is what calls cost, and nothing else."""
        return [name for name, _ in self.weights] == ["cost"]

    @property
    def weights(self) -> tuple[tuple[str, float], ...]:
        """Weights of the amounts in the loss: money where errors have a price or a bound, else the error alone."""
        if self.error_price is None and self.max_error is None:
            return (("error", 1.0),)
        money = (
            ("error", self.error_price),
            ("cost", 1.0),
            ("latency", self.latency_price),
            ("abstained", self.abstain_price),
        )
        return tuple((name, float(weight)) for name, weight in money if weight is not None)

    @property
    def stated(self) -> dict[str, Any]:
        """What was asked for, without what plays no part in it."""
        out = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if not self.bounds:
            out.pop("prob")
        if not (self.doubt or self.max_error):
            del out["doubt"]
        if self.risk == "mean":
            del out["risk"], out["alpha"]
        return {name: value if isinstance(value, str) else _plain(value) for name, value in out.items()}

    def check_latency(self, draws: Draws) -> None:
        """Raise `CascadeError` where latency matters and the fit does not know it for every stage."""
        if self.max_latency is None and self.latency_price is None:
            return
        known = np.zeros(len(draws.stages), bool)
        if draws.latency is not None:
            known = np.isfinite(draws.latency).all(axis=0)
        if not known.all():
            name = "max_latency" if self.max_latency is not None else "latency_price"
            lacking = ", ".join(repr(s) for s, k in zip(draws.stages, known, strict=True) if not k)
            raise CascadeError(
                option(name)
                + f" needs the latency of every stage, but the log has none for {lacking}; add it and fit again.",
                parameter=name,
                value=getattr(self, name),
            )

    def objective(self, draws: Draws | None = None) -> Objective:
        """The objective; with draws and ``risk="regret"``, of each draw's loss beyond its own optimum."""
        tail = None if self.risk == "mean" else float(self.alpha)
        reference = None
        if draws is not None and self.risk == "regret" and self.error_price is not None:
            # of all stages, so that subsets of them are compared by the same
            every = draws if draws.parent is None else draws.parent
            reference = optimal_loss(every, self.error_price, self.abstain_price, self.latency_price)
        return Objective(self.weights, self.bounds, float(self.prob), self.batch, tail, reference)


def _plain(value: Any) -> float | int:
    return int(value) if isinstance(value, int | np.integer) else float(value)
