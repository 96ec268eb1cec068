"""The signals by name, and the confidence of a response: the same number in a log and at run time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bayescascade._common.messages import listed
from bayescascade.errors import CascadeError
from bayescascade.signals import absent, decisions, logprobs, samples, verbalised
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.kinds import check_kind, clip_rounding, off_scale
from bayescascade.signals.responses import number


@dataclass(frozen=True)
class Signal:
    """How a confidence is made from a response, and of which kind it is.

    Examples
    --------
    >>> from bayescascade.signals.confidence import Signal, confidence
    >>> short = Signal("short", "score", lambda response: -len(response["choices"][0]["text"]))
    >>> confidence({"choices": [{"text": "B"}]}, short)
    -1.0

    Attributes
    ----------
    name : str
    kind : str
        The ``confidence_kind`` of its values.
    function : callable
        From a response to a number, higher where the answer is surer; raises `NoConfidence` where it holds none.
        Its keyword-only parameters are the signal's options.
    """

    name: str
    kind: str
    function: Callable[..., float]

    @cached_property
    def options(self) -> list[str]:
        """Names of the options."""
        parameters = inspect.signature(self.function).parameters.values()
        return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


SIGNALS: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        # from the log-probabilities of the answer's tokens
        Signal("mean_logprob", "logprob", logprobs.mean_logprob),
        Signal("sum_logprob", "log_likelihood", logprobs.sum_logprob),
        Signal("min_logprob", "log_likelihood", logprobs.min_logprob),
        Signal("low_logprob", "log_likelihood", logprobs.low_logprob),
        Signal("first_token_margin", "margin", logprobs.first_token_margin),
        Signal("first_token_gap", "logprob_gap", logprobs.first_token_gap),
        Signal("answer_probability", "probability", logprobs.answer_probability),
        Signal("p_true", "p_true", logprobs.p_true),
        # from answers that come with their probabilities
        Signal("top_probability", "probability", decisions.top_probability),
        Signal("top_gap", "margin", decisions.top_gap),
        # from several samples
        Signal("agreement", "votes", samples.agreement),
        Signal("negative_entropy", "logprob", samples.negative_entropy),
        # from the text
        Signal("verbalised", "percent", verbalised.verbalised),
        Signal("verbalised_rating", "score", verbalised.verbalised_rating),
    )
}


def confidence(response: Any, signal: str | Signal = "mean_logprob", **options: Any) -> float:
    """The confidence of a response of a language model.

    Examples
    --------
    >>> from bayescascade.signals.confidence import confidence
    >>> top = [{"token": "B", "logprob": -0.1}, {"token": "A", "logprob": -2.4}]
    >>> logprobs = {"content": [{"token": "B", "logprob": -0.1, "top_logprobs": top}]}
    >>> response = {"choices": [{"message": {"content": "B"}, "logprobs": logprobs}]}
    >>> confidence(response)
    -0.1
    >>> round(confidence(response, "first_token_margin", answers=["A", "B"]), 3)
    0.818
    >>> confidence({"answers": {"refund": {"type": "noul", "noul": 0.13}}}, "top_probability")
    0.87
    >>> confidence(["Paris", "paris.", "Lyon", "Paris"], "agreement")
    0.75

    Parameters
    ----------
    response : dict, object or list
        As parsed from JSON, or the client's own object: a chat completion of OpenAI or of a server that speaks
        like it, a legacy completion, one of their choices or its ``logprobs``; a list of log-probabilities; the
        answers of a decision model; for signals of several samples, a response with several choices, or a list of
        responses or texts.
    signal : str or Signal
        A key of `SIGNALS`, or your own.
    **options
        Of the signal: ``answers`` and ``place`` of `first_token_margin`, `first_token_gap` and
        `answer_probability`; ``true`` of `p_true`; ``quantile`` of `low_logprob`; ``question`` of
        `top_probability` and `top_gap`; ``same`` of `agreement` and `negative_entropy`; ``best`` of
        `verbalised_rating`.

    Returns
    -------
    float
        Finite, on the scale of the signal's kind; higher is surer.

    Raises
    ------
    NoConfidence
        If the response holds none; ``reason`` says why. At run time, defer the query.
    CascadeError
        For a signal or an option that does not exist.
    """
    found = check_signal(signal, options)
    value = number(found.function(response, **options))
    if value != value:
        raise NoConfidence(absent.OFF_SCALE, ": it is not a finite number")
    clipped = float(clip_rounding(value, found.kind))
    if off_scale(clipped, found.kind):
        raise NoConfidence(absent.OFF_SCALE, f": {value:.6g} is not {check_kind(found.kind).description}")
    return clipped


def refuse_other_signal(found: object, wanted: object, what: str) -> None:
    """Raise `CascadeError` where confidences were made by another signal than thresholds are for.

    Either may be unknown: a table of confidences seldom says how they were made.

    Examples
    --------
    >>> refuse_other_signal("low_logprob", None, "the log")
    """
    if isinstance(found, str) and isinstance(wanted, str) and found != wanted:
        raise CascadeError(
            f"the confidences of {what} are made by the signal {found!r}, but the policy's thresholds are for "
            f"{wanted!r}, and mean nothing on others; make the confidences by {wanted!r}, or tune a policy for "
            f"{found!r}",
            parameter="signal",
        )


def check_signal(signal: str | Signal, options: Any = ()) -> Signal:
    """Look up a signal by name, and refuse options that it does not have.

    Examples
    --------
    >>> check_signal("mean_logprob").kind
    'logprob'

    Raises
    ------
    CascadeError
        If there is no such signal, kind or option.
    """
    found = SIGNALS.get(signal) if isinstance(signal, str) else signal
    if not isinstance(found, Signal):
        raise CascadeError(f"unknown signal {signal!r}; choose one of {', '.join(map(repr, SIGNALS))}")
    check_kind(found.kind)
    for name in options:
        if name not in found.options:
            raise CascadeError(f"signal {found.name!r} has no option {name!r}; it has {listed(found.options)}")
    return found
