"""Why there is no confidence: reasons that can be counted, and the error that names one."""

from __future__ import annotations

from bayescascade.errors import CascadeError

FAILED = "the call failed"
EMPTY = "the answer is empty"
UNREADABLE = "the response is not of a known shape"
NO_LOGPROBS = "there are no log-probabilities"
ABSENT = "the log-probability of a token is absent"
NO_RIVAL = "no second answer is listed"
NOT_LISTED = "the answer's token is not listed"
NO_QUESTION = "the question is not answered"
REFUSED = "the model declined to answer"
FEW_SAMPLES = "there are not two samples"
NO_NUMBER = "the text holds no number"
UNCLEAR = "the text does not say which number is meant"
OFF_SCALE = "the value is off its scale"

_ADVICE = {
    NO_LOGPROBS: "ask for them in the request",
    ABSENT: "it is empty, or below all that the provider reports",
    NO_RIVAL: "ask for the log-probabilities of more tokens in the request",
    NOT_LISTED: "compare the answers that you named with the tokens of the response",
    FEW_SAMPLES: "ask for several answers to each query",
    UNCLEAR: "ask for the number alone, or for 'confidence: 85' after the answer",
}


class NoConfidence(CascadeError):
    """A response holds no confidence, for a reason that can be counted.

    Examples
    --------
    >>> from bayescascade.signals.absent import NoConfidence
    >>> from bayescascade.signals.confidence import confidence
    >>> try:
    ...     confidence({"choices": [{"message": {"content": "B"}, "logprobs": None}]})
    ... except NoConfidence as error:
    ...     print(error.reason)
    there are no log-probabilities

    Attributes
    ----------
    reason : str
        One of the constants of `bayescascade.signals.absent`.

    Notes
    -----
    It is an error and no NaN, so that nobody accepts an answer whose confidence was never seen. At run time,
    catch it and defer the query.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        parts = filter(None, (reason + detail, _ADVICE.get(reason)))
        super().__init__("no confidence: " + "; ".join(parts))
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type[NoConfidence], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
