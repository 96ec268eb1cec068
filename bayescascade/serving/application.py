"""A cascade behind an address that speaks like OpenAI's: an ASGI app, to be run or mounted."""

from __future__ import annotations

import hmac
import json
import logging
import math
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from bayescascade.errors import CascadeError, bad_value
from bayescascade.runtime.cascade import Cascade
from bayescascade.runtime.endpoint import Messages
from bayescascade.runtime.result import NoAnswer, Result
from bayescascade.serving.chat import check_model, completion, events, headers_of, read_request
from bayescascade.serving.metrics import Metrics
from bayescascade.serving.refusals import Refused, refusal_of

output = logging.getLogger("bayescascade.serving")

MAX_QUEUE, MAX_BYTES = 512, 4 * 2**20
LONGEST_KEY = 200
LONGEST_WAIT = 60  # seconds; a client of OpenAI's waits no longer than that


def app(
    cascade: Cascade,
    *,
    model: str = "bayescascade",
    token_env: str | None = None,
    max_queue: int = MAX_QUEUE,
    max_bytes: int = MAX_BYTES,
) -> FastAPI:
    """A cascade as an ASGI app that speaks like OpenAI's chat completions.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.serving import app
    >>> policy = bc.Policy(["human"], [float("-inf")], "probability")
    >>> served = app(bc.Cascade(policy, {"human": lambda messages: "yes"}))

    Run it by ``uvicorn.run(served)``, or mount it: ``yours.mount("/cascade", served)``. It has
    ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health`` and ``GET /metrics``.

    Parameters
    ----------
    cascade : Cascade
        It is closed when the app ends, after the queries under way. Where the app is mounted, its owner closes it.
    model : str
        The name that clients ask for.
    token_env : str, optional
        Name of an environment variable that holds a token. All paths but ``/health`` then want it, as clients send
        a key: ``Authorization: Bearer ...``. It is read once, now.
    max_queue : int
        Most requests at a time, those that run and those that wait. Further ones get the status 429.
    max_bytes : int
        Longest request, in bytes. A longer one gets the status 413.

    Returns
    -------
    fastapi.FastAPI

    Raises
    ------
    CascadeError
        If a parameter is not allowed, or there is no token in the environment.
    """
    if not isinstance(cascade, Cascade):
        raise bad_value("cascade", cascade, "give a Cascade")
    if not isinstance(model, str) or not model.strip():
        raise bad_value("model", model, "give the name that clients ask for")
    for name, value in (("max_queue", max_queue), ("max_bytes", max_bytes)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise bad_value(name, value, "give a whole number of at least 1")
    service = _Service(cascade, model, None if token_env is None else token_of(token_env), max_queue, max_bytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await cascade.close()

    # the pages that FastAPI makes of itself load scripts from elsewhere, and ask for no token
    made = FastAPI(title="bayescascade", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    made.add_api_route("/v1/chat/completions", service.chat, methods=["POST"], response_model=None)
    made.add_api_route("/v1/models", service.models, methods=["GET"], response_model=None)
    made.add_api_route("/v1/models/{name:path}", service.one_model, methods=["GET"], response_model=None)
    made.add_api_route("/health", service.health, methods=["GET"], response_model=None)
    made.add_api_route("/metrics", service.numbers, methods=["GET"], response_model=None)
    made.add_exception_handler(HTTPException, _no_such_path)
    return made


class _Service:
    """The handlers of an app, and what they share."""

    def __init__(self, cascade: Cascade, model: str, token: str | None, max_queue: int, max_bytes: int) -> None:
        self.cascade, self.model = cascade, model
        self._token, self._max_queue, self._max_bytes = token, max_queue, max_bytes
        self._metrics = Metrics(cascade.policy_id, model)
        self._open = 0
        self._pace = 1.0  # seconds that a query took of late
        self._since = int(time.time())

    # ---- paths

    async def chat(self, request: Request) -> Response:
        start, query = time.perf_counter(), ""
        try:
            self._check_token(request)
            query = _query_of(request)
            response = await self._answered(request, query)
        except Exception as error:
            response = self._failed(error, query)
        self._metrics.responded(response.status_code, time.perf_counter() - start)
        return response

    async def models(self, request: Request) -> Response:
        return self._guarded(request, lambda: {"object": "list", "data": [self._model()]})

    async def one_model(self, request: Request, name: str) -> Response:
        def found() -> dict[str, Any]:
            check_model(name, self.model)
            return self._model()

        return self._guarded(request, found)

    async def health(self) -> Response:
        return _json({"status": "ok", "policy": self.cascade.policy_id})

    async def numbers(self, request: Request) -> Response:
        try:
            self._check_token(request)
        except Refused as error:
            return self._failed(error)
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def _guarded(self, request: Request, made: Callable[[], dict[str, Any]]) -> Response:
        try:
            self._check_token(request)
            return _json(made())
        except Refused as error:
            return self._failed(error)

    def _model(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "created": self._since, "owned_by": "bayescascade"}

    # ---- a completion

    async def _answered(self, request: Request, query: str) -> Response:
        asked = read_request(await self._body(request), self.model)
        result = await self._ask(asked.messages, query)
        headers = headers_of(result, self.cascade.policy_id)
        if asked.not_applied:
            headers["x-cascade-not-applied"] = ", ".join(asked.not_applied)
        parts = (result, self.model, self.cascade.policy_id, int(time.time()))
        if not asked.stream:
            return _json(completion(*parts), headers=headers)
        # no byte has gone out before the decision, so the status and the headers are those of the result
        stream = _each(events(*parts))
        return StreamingResponse(
            stream, headers={**headers, "cache-control": "no-cache"}, media_type="text/event-stream"
        )

    async def _ask(self, messages: Messages, query: str) -> Result:
        if self._open >= self._max_queue:
            wait = str(min(max(math.ceil(self._pace), 1), LONGEST_WAIT))
            raise Refused(
                429,
                f"the server has {self._open} requests, the most that it takes; try again in {wait} s",
                code="queue_full",
                headers={"retry-after": wait},
            )
        self._open += 1
        self._metrics.open.inc()
        start, known = time.perf_counter(), query in self.cascade
        result = None
        try:
            result = await self.cascade.answer(messages, query)
            return result
        except NoAnswer as error:
            result = error.result
            raise
        finally:
            self._open -= 1
            self._metrics.open.dec()
            self._pace += 0.1 * (time.perf_counter() - start - self._pace)
            if result is not None and not known:  # what the log had is counted already
                self._metrics.ended(result)

    async def _body(self, request: Request) -> bytes:
        # a page in a browser can send other types to a server on loopback without being asked for leave
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, "the request should be of the type application/json", code="unsupported_type")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_bytes:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> Refused:
        return Refused(
            413, f"the request is longer than {self._max_bytes} bytes; send less", code="request_too_large"
        )

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(token.strip().encode("latin-1"), self._token.encode())
        if scheme.lower() != "bearer" or not same:
            raise Refused(
                401,
                "the token is missing or wrong; send it as the API key",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )

    # ---- what goes back

    def _failed(self, error: Exception, query: str = "") -> Response:
        refusal = refusal_of(error)
        if refusal.status >= 500:
            # the operator's output has what a client must not see, such as addresses of endpoints
            expected = isinstance(error, CascadeError)
            output.error("query %s: %s", query, error, exc_info=None if expected else error)
        own = {"x-cascade-policy": self.cascade.policy_id}
        headers = headers_of(error.result, self.cascade.policy_id) if isinstance(error, NoAnswer) else own
        return _json(refusal.body(), refusal.status, {**headers, **refusal.headers})


# ---- parts


def token_of(name: str) -> str:
    """The token in an environment variable; raises `CascadeError` where there is none."""
    token = os.environ.get(name, "").strip()
    if not token:
        raise CascadeError(f"the environment variable {name} is not set, which should hold the token; set it")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CascadeError(f"the token in {name} holds characters that a header cannot; set another")
    return token


def _query_of(request: Request) -> str:
    """The query's id: the client's own if it has one, so that a request sent again is not run again."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return uuid.uuid4().hex
    if not key.strip() or len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Refused(400, f"an Idempotency-Key has 1 to {LONGEST_KEY} plain characters", code="invalid_value")
    return key


def _json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # ASCII alone, since models write halves of characters, which have no UTF-8
    return Response(json.dumps(body), status, headers, media_type="application/json")


async def _each(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _no_such_path(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    there = "there are POST /v1/chat/completions, GET /v1/models, GET /health and GET /metrics"
    return _json(Refused(status, f"the server has no such path or method; {there}").body(), status)
