"""Requests that get no answer: a status and an error in the shape that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayescascade.errors import CascadeError
from bayescascade.runtime.budget import BudgetSpent
from bayescascade.runtime.reply import StageUnusable
from bayescascade.runtime.result import IdTaken, NoAnswer

# OpenAI's own clients ask again after a 429 or a 5xx, unless this says not to: what failed is paid already.
NO_RETRY = {"x-should-retry": "false"}


class Refused(CascadeError):
    """A request that gets no answer, and why.

    Examples
    --------
    >>> error = Refused(413, "the request is too large", code="request_too_large")
    >>> error.body()["error"]["type"], error.body()["error"]["code"]
    ('invalid_request_error', 'request_too_large')

    Attributes
    ----------
    status : int
        Of the response.
    code : str or None
        For programs; the message is for people.
    param : str or None
        The field of the request that is at fault.
    headers : dict
        Further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.headers = status, code, param, dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        kind = "server_error" if self.status >= 500 else KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


KINDS = {401: "authentication_error", 429: "rate_limit_error"}


def refusal_of(error: Exception) -> Refused:
    """What a client is told of an error of the cascade; addresses and settings of its endpoints are not among it.

    Examples
    --------
    >>> refusal_of(BudgetSpent("...")).status
    429
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, NoAnswer):
        return Refused(
            502,
            "no stage gave an answer that could be accepted; why is in the decision log, under query "
            f"{error.result.query!r}",
            code="no_answer",
            headers=NO_RETRY,
        )
    if isinstance(error, StageUnusable):
        return Refused(
            503,
            "a stage of the cascade cannot be used until its settings are mended; the server's output says why",
            code="stage_unusable",
            headers=NO_RETRY,
        )
    if isinstance(error, BudgetSpent):
        return Refused(429, "the budget of this cascade is spent", code="insufficient_quota", headers=NO_RETRY)
    if isinstance(error, IdTaken):
        return Refused(
            409,
            "this Idempotency-Key was sent with other messages; give these a key of their own",
            code="key_taken",
            headers=NO_RETRY,
        )
    return Refused(500, "the server failed; its output says why", code="internal_error", headers=NO_RETRY)
