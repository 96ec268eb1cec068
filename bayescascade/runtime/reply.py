"""What a stage replies to a query: an answer with its confidence, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bayescascade.errors import CascadeError


@dataclass(frozen=True)
class Reply:
    """A stage's answer to a query.

    Examples
    --------
    >>> from bayescascade import Reply
    >>> Reply("B", confidence=0.8, cost=1e-4).missing
    >>> Reply("B").missing
    'no confidence came with the answer'

    Attributes
    ----------
    answer : str or None
    confidence : float
        On the scale of the policy's confidence kind, NaN where there is none.
    cost : float
        In the currency of the prices, NaN where it is not known.
    reason : str, optional
        Why there is no answer, or no confidence.
    """

    answer: str | None = None
    confidence: float = math.nan
    cost: float = math.nan
    reason: str | None = None

    @property
    def missing(self) -> str | None:
        """Why this cannot be decided on; None where it can."""
        if self.reason is None and not math.isfinite(self.confidence):
            return "no confidence came with the answer"
        return self.reason


class StageUnusable(CascadeError):
    """A stage that no query can use until somebody mends it, such as one with a wrong key.

    Examples
    --------
    >>> raise StageUnusable("the endpoint does not accept the key; set another")
    Traceback (most recent call last):
    ...
    bayescascade.runtime.reply.StageUnusable: the endpoint does not accept the key; set another
    """
