"""One call of a model as every reader gives it, whatever the format it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bayescascade._common.validation import check_text
from bayescascade.errors import CascadeError


@dataclass(frozen=True, slots=True)
class Call:
    """What a file says of one call.

    Examples
    --------
    >>> from bayescascade.logs.importers.calls import Call
    >>> Call("q1", "small", {"choices": []}, where="small.jsonl, line 1").stage
    'small'

    Attributes
    ----------
    query : str, int or None
        What joins the calls of several stages.
    model : str or None
        As the file names it; prices are looked up by it.
    response : object
        What signals are computed from; None where the call failed.
    stage : str or None
        The stage, ``model`` unless given.
    answer : object
        What was answered, where it is not the text of ``response``.
    expected : object
        The true answer, where the format has it: it is graded.
    correct : float or None
        0 or 1 where the format has grades, NaN for not scored; it goes before ``expected``.
    usage : mapping or None
        Tokens, in the names of any provider.
    cost : float or None
        Of this call, where the format has it; prices go before it.
    latency : float or None
        In seconds.
    batch : bool
        Whether it was part of a batch, which has a discount.
    task : str or None
        The task of the query.
    where : str
        File and line, for messages.
    problem : str or None
        Why the call cannot be used.
    """

    query: str | int | None
    model: str | None
    response: Any
    stage: str | None = None
    answer: Any = None
    expected: Any = None
    correct: float | None = None
    usage: Mapping[str, Any] | None = None
    cost: float | None = None
    latency: float | None = None
    batch: bool = False
    task: str | None = None
    where: str = ""
    problem: str | None = None

    def __post_init__(self) -> None:
        if self.stage is None:
            object.__setattr__(self, "stage", self.model)


def fault(where: str, problem: str) -> CascadeError:
    """The error of something in a file that a user has to mend: where it stands, and what it is."""
    return CascadeError(f"{where}: {problem}")


def check_object(found: Any, where: str, advice: str = "") -> dict[str, Any]:
    """What was parsed from JSON, or `CascadeError` where it is not an object."""
    if isinstance(found, dict):
        return found
    raise fault(where, f"should be a JSON object but is a JSON {type(found).__name__}{advice}")


def check_id_text(what: str, text: str | int | None, where: str) -> None:
    """Raise `CascadeError` for an id that no file or terminal can hold, and say where it stands."""
    try:
        check_text(what, str(text), allowed="\t\n\r" if what == "query" else "")
    except CascadeError as error:
        raise fault(where, error.message) from None
