"""What a response of a language model holds: its text, its tokens, their log-probabilities.

Read are chat completions and legacy completions of OpenAI and of the servers that speak like it, parsed from JSON
or as the client's own objects; one of their choices; its ``logprobs`` alone; or a plain list of log-probabilities.
Nothing is guessed: what is not there raises `NoConfidence`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import isfinite, nan
from numbers import Real
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.kinds import ROUNDING

SENTINEL = -9999.0  # what OpenAI writes for a token that is not among the twenty likeliest

# Tokens that end a text and are no part of it, where the text itself is not known.
_STOP = re.compile(r"(<[|｜].*[|｜]>|</s>|<eos>|<end_of_turn>|)", re.DOTALL)


_OF_A_CHOICE = {"message", "text", "content", "logprobs"}
_JSON = {dict, list, str, float, int, bool, type(None)}


class Token(NamedTuple):
    """One token of an answer, as the response holds it.

    Attributes
    ----------
    text : str or None
        None where only log-probabilities are known.
    logprob : object
        As it came: `logprob_of` checks it.
    top : object
        The likeliest tokens at its place, as they came: `listed_at` reads them.
    octets : object
        The token's part of the text, as it came: half a character has no text of its own.
    """

    text: str | None
    logprob: Any
    top: Any = None
    octets: Any = None

    @property
    def utf8(self) -> bytes:
        """The token's part of the text."""
        if is_list(self.octets):
            try:
                return bytes(self.octets)
            except (TypeError, ValueError):
                pass
        return (self.text or "").encode("utf-8", "surrogatepass")


def plain(response: Any) -> Any:
    """A response as if parsed from JSON: objects of clients become dicts, arrays lists."""
    if type(response) in _JSON:
        return response
    if isinstance(response, np.ndarray):
        return response.tolist()
    return response.model_dump() if hasattr(response, "model_dump") else response


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether this is a list, as JSON has them."""
    return type(value) is list or (isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray))


def number(value: Any) -> float:
    """A finite number, or NaN for anything else; True and False are no numbers."""
    if type(value) is float:  # nearly always, and a hundred times in each response
        return value if isfinite(value) else nan
    if not isinstance(value, Real) or isinstance(value, bool):
        return nan
    try:
        found = float(value)
    except OverflowError:
        return nan
    return found if isfinite(found) else nan


def logprob_of(value: Any) -> float:
    """A log-probability of a token, at most 0; raises `NoConfidence` where there is none."""
    found = number(value)
    if not found > SENTINEL:
        raise NoConfidence(absent.ABSENT)
    if found > ROUNDING:
        raise NoConfidence(absent.OFF_SCALE, f": {found:.6g} is not a log-probability, which is at most 0")
    return min(found, 0.0)


# ---- texts


def choices_of(response: Any) -> list[Any]:
    """The choices of a response, or the response itself where it has none to choose from."""
    response = plain(response)
    if not isinstance(response, Mapping):
        return [response]
    if response.get("error"):
        raise NoConfidence(absent.FAILED)
    if is_list(response.get("output")):
        return [_joined_output(response["output"])]
    if "choices" not in response:
        return [response]
    choices = response["choices"]
    if not is_list(choices) or not choices:
        raise NoConfidence(absent.EMPTY)
    return [plain(choice) for choice in choices]


def _joined_output(output: Iterable[Any]) -> dict[str, Any]:
    """The texts of OpenAI's newer responses as one legacy choice, with their tokens."""
    said = [part for item in _typed(output, "message") for part in _typed(item.get("content"), "output_text")]
    complete = all(is_list(part.get("logprobs")) for part in said)
    tokens = [token for part in said for token in part["logprobs"]] if complete else None
    texts = [part.get("text") for part in said]
    return {
        "text": "".join(text for text in texts if isinstance(text, str)),
        "logprobs": {"content": tokens},
    }


def _typed(items: Any, kind: str) -> list[Mapping[str, Any]]:
    """Those of a list's objects that are of a type."""
    found = map(plain, items) if is_list(items) else ()
    return [item for item in found if isinstance(item, Mapping) and item.get("type") == kind]


def text_of(response: Any) -> str:
    """The text of a response's first answer.

    Examples
    --------
    >>> text_of({"choices": [{"message": {"content": "B"}}]})
    'B'

    Raises
    ------
    NoConfidence
        If it has no text, or an empty one.
    """
    text = _text(choices_of(response)[0])
    if not text or not text.strip():
        raise NoConfidence(absent.EMPTY)
    return text


def texts_of(responses: Any) -> list[str]:
    """Texts of samples, empty where one has none: a list of texts or responses, or one of several choices."""
    responses = plain(responses)
    samples = responses if is_list(responses) else [responses]
    texts = [_text(choice) or "" for sample in samples for choice in _choices_or_none(sample)]
    return [text if text.strip() else "" for text in texts]


def _choices_or_none(sample: Any) -> list[Any]:
    try:
        return choices_of(sample)
    except NoConfidence:  # a sample that failed is one that agrees with none
        return [None]


def _text(choice: Any) -> str | None:
    """The text of a choice: a chat's message, which may come in parts, or a legacy completion's text."""
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, Mapping):
        return None
    message = plain(choice.get("message"))
    if isinstance(message, Mapping):
        content = message.get("content")
    else:
        content = choice["text"] if "text" in choice else choice.get("content")
        if not isinstance(content, str):  # a list of tokens is called content, too
            return None
    if is_list(content):
        parts = [part.get("text") for part in map(plain, content) if isinstance(part, Mapping)]
        content = "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


# ---- tokens


def tokens_of(response: Any) -> list[Token]:
    """The tokens of a response's first answer, without those that only end it; at least one.

    Examples
    --------
    >>> logprobs = {"content": [{"token": "B", "logprob": -0.1}, {"token": "<|im_end|>", "logprob": -0.7}]}
    >>> [token.text for token in tokens_of({"choices": [{"message": {"content": "B"}, "logprobs": logprobs}]})]
    ['B']

    Raises
    ------
    NoConfidence
        If the call failed, the answer is empty, or there are no log-probabilities.
    """
    response = plain(response)
    choice = choices_of(response)[0]
    text = _text(choice)
    if text is not None and not text.strip():
        raise NoConfidence(absent.EMPTY)
    logprobs = plain(choice["logprobs"]) if isinstance(choice, Mapping) and "logprobs" in choice else choice
    if is_list(logprobs):
        found = [*_read(logprobs)]
    elif isinstance(logprobs, Mapping) and "token_logprobs" in logprobs:
        found = _without_prompt([*_legacy(logprobs)], response)
    elif isinstance(logprobs, Mapping) and is_list(logprobs.get("content")):
        found = [*_read(logprobs["content"])]
    else:
        known = isinstance(choice, Mapping) and not choice.keys().isdisjoint(_OF_A_CHOICE)
        raise NoConfidence(absent.NO_LOGPROBS if known else absent.UNREADABLE)
    if not found:
        raise NoConfidence(absent.NO_LOGPROBS)
    kept = _without_stop(found, text)
    if not kept:
        raise NoConfidence(absent.EMPTY)
    return kept


def _read(items: Iterable[Any]) -> Iterator[Token]:
    """Tokens of ``content``, or bare log-probabilities."""
    for item in map(plain, items):
        if isinstance(item, Mapping):
            yield Token(_word(item.get("token")), item.get("logprob"), item.get("top_logprobs"), item.get("bytes"))
        else:
            yield Token(None, item)


def _legacy(logprobs: Mapping[str, Any]) -> Iterator[Token]:
    values, texts, top = (logprobs.get(name) for name in ("token_logprobs", "tokens", "top_logprobs"))
    if not is_list(values):
        raise NoConfidence(absent.NO_LOGPROBS)
    for i, value in enumerate(values):
        yield Token(_word(_item(texts, i)), value, _item(top, i))


def _item(values: Any, i: int) -> Any:
    return values[i] if is_list(values) and i < len(values) else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _without_prompt(tokens: list[Token], response: Any) -> list[Token]:
    """Legacy tokens of the answer alone: an echoed prompt stands before it, whose first token has no value."""
    if not tokens or tokens[0].logprob is not None:
        return tokens
    usage = plain(response.get("usage")) if isinstance(response, Mapping) else None
    answered = number(usage.get("completion_tokens")) if isinstance(usage, Mapping) else nan
    return tokens[-int(answered) :] if 1 <= answered < len(tokens) else tokens


def _without_stop(tokens: list[Token], text: str | None) -> list[Token]:
    """Tokens up to the end of the text: vLLM also lists the one that ends it, OpenAI does not."""
    if all(token.text is None for token in tokens):
        return tokens
    if text is not None:
        if tokens[-1].text and "".join(token.text or "" for token in tokens) == text:
            return tokens
        whole = text.encode("utf-8", "surrogatepass")
        if b"".join(token.utf8 for token in tokens).startswith(whole):
            starts = accumulate((len(token.utf8) for token in tokens), initial=0)
            return [token for token, start in zip(tokens, starts, strict=False) if start < len(whole)]
    last = len(tokens)
    while last and tokens[last - 1].text is not None and _STOP.fullmatch(tokens[last - 1].text or ""):
        last -= 1
    return tokens[:last]


def listed_at(token: Token) -> list[tuple[str, float]]:
    """The tokens that are listed at a token's place with their log-probabilities, itself first."""
    if token.text is None:
        raise NoConfidence(absent.NO_RIVAL)
    top = token.top
    if isinstance(top, Mapping):
        pairs = [*top.items()]
    else:
        items = [item for item in map(plain, top) if isinstance(item, Mapping)] if is_list(top) else []
        pairs = [(item.get("token"), item.get("logprob")) for item in items]
    # an absent entry is one that the provider had nothing to say of
    named = [(text, value) for text, value in pairs if isinstance(text, str) and number(value) > SENTINEL]
    itself = next((i for i, (text, _) in enumerate(named) if text == token.text), None)
    rest = [(text, logprob_of(value)) for i, (text, value) in enumerate(named) if i != itself]
    return [(token.text, logprob_of(token.logprob)), *rest]
