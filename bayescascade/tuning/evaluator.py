"""What threshold rows come to under every posterior draw: outcomes, and the amounts of an objective."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.forward import Outcome
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import Kernel
from bayescascade.tuning.objective import Amounts, amounts_of


@dataclass(frozen=True)
class Evaluator:
    """Outcomes and amounts of rows of positions (point, row) under posterior draws, each (draw, point).

    Attributes
    ----------
    draws : Draws
    kernels : list of Kernel, optional
        Those of the draws, block by block, where they are kept for many evaluations.
    discrepancy : ModelDiscrepancy, optional
        Added to the model's error; None believes the model.
    """

    draws: Draws
    kernels: list[Kernel] | None = None
    discrepancy: ModelDiscrepancy | None = None

    def expected(self, rows: np.ndarray) -> Outcome:
        """Outcome that the model expects, without discrepancy."""
        return forward_all(self.draws, rows, self.kernels)

    def outcome(self, rows: np.ndarray) -> Outcome:
        """Outcome with the discrepancy added."""
        return self.with_discrepancy(self.expected(rows), rows)

    def amounts(self, rows: np.ndarray, names: list[str]) -> Amounts:
        """Named amounts of `outcome`."""
        return amounts_of(self.outcome(rows), self.draws, names)

    def with_discrepancy(self, outcome: Outcome, rows: np.ndarray, expected: np.ndarray | None = None) -> Outcome:
        """Add the discrepancy to the error of an outcome of these rows.

        ``expected`` (point,) is the error expected on the labelled queries' own mix, see `ModelDiscrepancy.error`.
        """
        if self.discrepancy is None:
            return outcome
        return outcome._replace(error=self.discrepancy.error(outcome.error, rows, self.draws, expected))

    def smoothed(self, expected: np.ndarray, rows: np.ndarray) -> Evaluator:
        """The same, with the discrepancy's empirical errors smoothed along rows of these expected errors."""
        if self.discrepancy is None:
            return self
        return replace(self, discrepancy=self.discrepancy.smoothed(expected, rows, self.draws))
