"""A stage that is a language model behind an address which speaks like OpenAI's."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

from bayescascade._common.extras import not_installed
from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.runtime.reply import Reply, StageUnusable
from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.confidence import Signal, check_signal, confidence
from bayescascade.signals.prices import Prices, Unpriced
from bayescascade.signals.responses import number, text_of

Messages = str | Sequence[Mapping[str, Any]]

MAX_RETRIES = 20
# Signals that are not made from the one answer of one request.
_ELSEWHERE = ("p_true", "agreement", "negative_entropy", "top_probability", "top_gap")
_IN_WORDS = ("verbalised", "verbalised_rating")
_OURS = ("model", "messages", "stream", "logprobs", "top_logprobs", "n")
_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")  # capitals alone, so that no key passes for one


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible address, as a stage of a `Cascade`.

    Examples
    --------
    >>> from bayescascade import Endpoint
    >>> small = Endpoint("small-1b", "http://127.0.0.1:8000/v1", api_key_env=None, price=(0.15, 0.60))
    >>> small.kind
    'logprob'

    Parameters
    ----------
    model : str
        As the provider calls it.
    base_url : str, optional
        Address of the server, up to ``/v1``. OpenAI's own by default.
    api_key_env : str or None
        Name of the environment variable, in capitals, that holds the key. It is read when the cascade is made,
        and written nowhere. None for a server that asks for none.
    signal : str, Signal or None
        How the confidence is made from a response; the one that the log was made with. None for a last stage
        whose answers need no confidence.
    signal_options : mapping
        Options of the signal, such as ``{"answers": ["A", "B"]}``.
    price : float or tuple, optional
        Of one call; or of a million tokens sent and answered, and, third, of those from a cache.
    expected_cost : float, optional
        What a call costs about. A budget counts with it before the call. The price of a call by default.
    timeout : float
        Seconds that a call may take, with all its tries.
    retries : int
        How often a call is tried again where the provider is busy (429, 5xx) or there is no connection. The waits
        grow, and are those that the provider asks for.
    on_failure : {"defer", "fail"}
        What becomes of a query when a call has failed, or its response holds no confidence: the next stage gets
        it, or `Cascade.answer` raises. The last stage always raises.
    top_logprobs : int
        How many likely tokens are asked for at each place.
    request : mapping
        Further fields of the request, such as ``{"temperature": 0, "max_tokens": 200}``; the ones that the log was
        made with.

    Raises
    ------
    CascadeError
        If a parameter is not allowed.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = "OPENAI_API_KEY"
    signal: str | Signal | None = "mean_logprob"
    signal_options: Mapping[str, Any] = field(default_factory=dict)
    price: Any = None
    expected_cost: float | None = None
    timeout: float = 60.0
    retries: int = 2
    on_failure: Literal["defer", "fail"] = "defer"
    top_logprobs: int = 5
    request: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names(self)
        _check_numbers(self)
        _check_mappings(self)
        if self.signal is not None:
            found = check_signal(self.signal, self.signal_options)
            if found.name in _ELSEWHERE:
                raise bad_value(
                    "signal", found.name, "it needs more than one response; give a function as the stage instead"
                )
        elif self.signal_options:
            raise bad_value("signal_options", dict(self.signal_options), "there is no signal that has options")
        _ = self._prices  # which refuses what is no price

    @cached_property
    def _prices(self) -> Prices:
        return Prices(None if self.price is None else {self.model: self.price})

    @property
    def kind(self) -> str | None:
        """The kind of its confidences, None where it has none."""
        return None if self.signal is None else check_signal(self.signal).kind

    @property
    def expected(self) -> float | None:
        """What a call costs about, where that is known before the call."""
        if self.expected_cost is not None or self.price is None or isinstance(self.price, tuple | list):
            return self.expected_cost
        return float(self.price)

    def client(self) -> Any:
        """A client of the `openai` package, with the key from the environment."""
        try:
            from openai import AsyncOpenAI
        except ModuleNotFoundError as missing:
            raise not_installed(missing, "bayescascade.Endpoint", "serve") from missing
        key = "none" if self.api_key_env is None else _key(self.api_key_env)
        return AsyncOpenAI(
            api_key=key, base_url=self.base_url, max_retries=self.retries, timeout=float(self.timeout)
        )

    async def ask(self, client: Any, messages: Messages) -> Reply:
        """The model's reply; what a provider says of an error is never repeated, since it may hold the key."""
        try:
            async with asyncio.timeout(self.timeout):
                raw = await client.chat.completions.with_raw_response.create(**self._request(messages))
                response = json.loads(raw.http_response.content)
        except Exception as error:  # whatever the client makes of what came over the wire
            return Reply(reason=self._why(error))
        return self.read(response)

    def read(self, response: Any) -> Reply:
        """The reply that a response, as parsed from JSON, stands for.

        Examples
        --------
        >>> response = {"choices": [{"message": {"content": "B"}, "logprobs": None}]}
        >>> Endpoint("small-1b").read(response)
        Reply(answer='B', confidence=nan, cost=nan, reason='there are no log-probabilities')
        """
        cost = self._cost(response)
        try:
            if not isinstance(response, Mapping):
                raise NoConfidence(absent.UNREADABLE)
            if _declined(response):
                raise NoConfidence(absent.REFUSED)
            answer = text_of(response)
        except NoConfidence as error:
            return Reply(cost=cost, reason=error.reason)
        if self.signal is None:
            return Reply(answer, cost=cost)
        try:
            return Reply(answer, confidence(response, self.signal, **self.signal_options), cost)
        except NoConfidence as error:
            return Reply(answer, cost=cost, reason=error.reason)

    def _request(self, messages: Messages) -> dict[str, Any]:
        texts = [{"role": "user", "content": messages}] if isinstance(messages, str) else [*messages]
        # fields that this server alone knows, too, which are no arguments of the client's function
        more = dict(self.request)
        asked: dict[str, Any] = {"model": self.model, "messages": texts, "extra_body": more}
        if self.signal is not None and check_signal(self.signal).name not in _IN_WORDS:
            asked |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return asked

    def _cost(self, response: Any) -> float:
        usage = response.get("usage") if isinstance(response, Mapping) else None
        try:
            return self._prices.cost(self.model, None, usage)
        except Unpriced:
            return float("nan")

    def _why(self, error: Exception) -> str:
        """Why a call failed, in words of our own."""
        import openai

        if isinstance(error, openai.APITimeoutError | TimeoutError):
            return f"no answer within {self.timeout:g} seconds"
        if isinstance(error, openai.APIConnectionError):
            return f"no connection to {self._place()}"
        if not isinstance(error, openai.APIStatusError):
            return absent.UNREADABLE
        if error.status_code in (401, 403):
            key = "it asks for a key" if self.api_key_env is None else f"check the key in {self.api_key_env}"
            raise StageUnusable(
                f"{self._place()} does not let model {self.model!r} be used (status {error.status_code}); {key}"
            ) from None
        if error.status_code == 404:
            raise StageUnusable(
                f"{self._place()} has no model {self.model!r}, or no chat completions at all (status 404); "
                "check model and base_url"
            ) from None
        return f"the provider answered with status {error.status_code}"

    def _place(self) -> str:
        return self.base_url or "the OpenAI endpoint"


# ---- checks


def _check_names(endpoint: Endpoint) -> None:
    if not isinstance(endpoint.model, str) or not endpoint.model.strip():
        raise bad_value("model", endpoint.model, "give the name of a model")
    if endpoint.base_url is not None:
        _check_url(endpoint.base_url)
    env = endpoint.api_key_env
    if env is not None and not (isinstance(env, str) and _VARIABLE.fullmatch(env)):
        # the value is not shown: it may be the key itself
        raise CascadeError(
            "api_key_env is not the name of an environment variable; write one such as OPENAI_API_KEY, in "
            "capitals, and "
            "never the key",
            parameter="api_key_env",
        )
    if endpoint.on_failure not in ("defer", "fail"):
        raise bad_value("on_failure", endpoint.on_failure, "choose 'defer' or 'fail'")


def _check_url(url: Any) -> None:
    hint = "write one such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except Exception:  # no text, or no port that there can be
        raise bad_value("base_url", url, hint) from None
    if parts.username is not None or parts.password is not None or parts.query:
        raise CascadeError(
            "base_url holds a user, a password or a query, which would be shown in messages; "
            "put keys into an environment variable, and name it by api_key_env",
            parameter="base_url",
        )
    if not good:
        raise bad_value("base_url", url, hint)


def _check_numbers(endpoint: Endpoint) -> None:
    if not number(endpoint.timeout) > 0.0:
        raise bad_value("timeout", endpoint.timeout, "give the seconds that a call may take")
    if endpoint.expected_cost is not None and not number(endpoint.expected_cost) >= 0.0:
        raise bad_value("expected_cost", endpoint.expected_cost, "give what a call costs about")
    for name, most in (("retries", MAX_RETRIES), ("top_logprobs", 20)):
        value = getattr(endpoint, name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise bad_value(name, value, f"give a whole number from 0 to {most}")


def _check_mappings(endpoint: Endpoint) -> None:
    for name in ("request", "signal_options"):
        if not isinstance(getattr(endpoint, name), Mapping):
            raise bad_value(name, getattr(endpoint, name), "give names and their values")
    ours = [name for name in endpoint.request if name in _OURS or str(name).startswith("extra_")]
    if ours:
        raise CascadeError(
            f"request holds {listed(ours)}, which the runner sets itself; take it out", parameter="request"
        )
    try:
        json.dumps(dict(endpoint.request), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise CascadeError(
            "request holds what JSON cannot; keep texts, numbers and lists", parameter="request"
        ) from None


def _key(name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key:
        raise CascadeError(
            f"the environment variable {name} is not set, which should hold the key; set it, or name another "
            "one by api_key_env"
        )
    if not key.isascii() or not key.isprintable():
        raise CascadeError(f"the key in {name} holds characters that no key has; set it again")
    return key


def _declined(response: Any) -> bool:
    """Whether the model, or a filter of the provider, refused to answer."""
    choices = response.get("choices") if isinstance(response, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping):
        return False
    message = choice.get("message")
    refused = isinstance(message, Mapping) and bool(message.get("refusal"))
    return refused or choice.get("finish_reason") == "content_filter"


def check_messages(messages: Any) -> Messages:
    """Raise `CascadeError` unless these are a prompt, or messages of a chat.

    Examples
    --------
    >>> check_messages("What is 1 + 1?")
    'What is 1 + 1?'
    """
    if isinstance(messages, str) and messages.strip():
        return messages
    listed_ = isinstance(messages, Sequence) and not isinstance(messages, str | bytes) and len(messages) > 0
    if listed_ and all(isinstance(message, Mapping) and "role" in message for message in messages):
        return messages
    raise CascadeError(
        f"messages should be a text, or a list of objects with role and content, but are {show(messages)}",
        parameter="messages",
    )
