"""A served cascade, asked by OpenAI's own client and by plain sockets."""

import http.client
import json
import math
import socket
import threading
import time

import openai
import pytest
from helpers.model_server import completion, serving
from helpers.served import served
from openai import OpenAI

import bayescascade as bc
from bayescascade import Budget, Cascade, CascadeError, Endpoint, Policy
from bayescascade.serving import app

INF = math.inf
POLICY = Policy(["small", "large"], [-0.5, -INF], "logprob")
TOKEN = "tok-SENTINEL-0123456789"
CHAT = "/v1/chat/completions"


@pytest.fixture
def small():
    with serving(lambda prompt: completion("A", float(prompt))) as model:
        yield model


@pytest.fixture
def large():
    with serving(lambda prompt: completion("L", -0.2)) as model:
        yield model


@pytest.fixture
def stages(small, large):
    common = {"api_key_env": None, "timeout": 10.0, "retries": 0}
    return {
        "small": Endpoint("m", small.url, price=1.0, **common),
        "large": Endpoint("m", large.url, price=5.0, **common),
    }


@pytest.fixture(scope="module")
def idle():
    """A server that no request should come through to."""
    policy = Policy(["human"], [-INF], "probability")
    with served(policy, {"human": lambda messages: pytest.fail("was asked")}) as server:
        yield server


def client_of(server, **options):
    return OpenAI(base_url=server.url, **{"api_key": "none", "max_retries": 0, **options})


def ask(client, prompt, **more):
    messages = [{"role": "user", "content": prompt}]
    return client.chat.completions.with_raw_response.create(
        **{"model": "bayescascade", "messages": messages, **more}
    )


def request(server, method, path, body=None, headers=None):
    """The status, the headers and the bytes of a response."""
    connection = http.client.HTTPConnection(server.root.removeprefix("http://"), timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def post(server, body, **headers):
    """The same of a request for a completion as it stands, with what its JSON says."""
    body = json.dumps(body).encode() if isinstance(body, dict) else body
    headers = {"Content-Type": "application/json", **headers}
    status, headers, found = request(server, "POST", CHAT, body, headers)
    return status, headers, json.loads(found)


def body_of(prompt="-0.1", **more):
    return {"model": "bayescascade", "messages": [{"role": "user", "content": prompt}], **more}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics_of(server):
    return request(server, "GET", "/metrics")[2].decode()


# ---- answers


def test_the_answer_is_that_of_the_cascade(stages, tmp_path):
    with served(POLICY, stages, log=tmp_path / "log.jsonl") as server, client_of(server) as client:
        sure, unsure = ask(client, "-0.1"), ask(client, "-0.9")
    for raw, text, stage, cost in ((sure, "A", "small", 1.0), (unsure, "L", "large", 6.0)):
        found = raw.parse()
        assert found.choices[0].message.content == text
        assert found.choices[0].finish_reason == "stop"
        assert found.usage is None
        assert raw.headers["x-cascade-stage"] == stage
        assert raw.headers["x-cascade-decision"] == "accept"
        assert float(raw.headers["x-cascade-cost"]) == cost
        assert found.system_fingerprint == f"policy-{raw.headers['x-cascade-policy']}"
    lines = lines_of(tmp_path / "log.jsonl")
    assert [line["stage"] for line in lines] == ["small", "small", "large"]
    assert lines[0]["query"] == sure.headers["x-cascade-query"] == sure.parse().id.removeprefix("chatcmpl-")
    assert {line["policy"] for line in lines} == {sure.headers["x-cascade-policy"]}


@pytest.mark.parametrize(("prompt", "text"), [("-0.1", "A"), ("-0.9", "L")])
def test_streaming(stages, prompt, text):
    with served(POLICY, stages) as server, client_of(server) as client:
        raw = ask(client, prompt, stream=True, stream_options={"include_usage": True})
        chunks = list(raw.parse())
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert raw.headers["x-cascade-stage"] == {"A": "small", "L": "large"}[text]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]
        assert len({chunk.id for chunk in chunks}) == 1
        with client.chat.completions.stream(**body_of(prompt)) as stream:
            assert stream.get_final_completion().choices[0].message.content == text


def test_a_stream_that_fails_has_a_status(stages, large):
    large.reply = lambda prompt: (500, {})
    with served(POLICY, stages) as server, client_of(server) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "-0.9", stream=True)
        assert caught.value.code == "no_answer"


@pytest.mark.parametrize("stream", [False, True])
def test_abstention_is_a_refusal(stages, stream):
    policy = Policy(["small", "large"], [-0.5, -INF], "logprob", reject=[-2.0, -INF])
    with served(policy, stages) as server, client_of(server) as client:
        raw = ask(client, "-3.0", stream=stream)
        assert raw.headers["x-cascade-decision"] == "abstain"
        if stream:
            deltas = [chunk.choices[0].delta for chunk in raw.parse()]
            assert "".join(delta.refusal or "" for delta in deltas).startswith("The cascade gives no answer")
            assert not any(delta.content for delta in deltas)
        else:
            message = raw.parse().choices[0].message
            assert message.content is None
            assert message.refusal.startswith("The cascade gives no answer")


def test_half_of_a_character_comes_through(stages, small):
    small.reply = lambda prompt: completion("\ud83d", -0.1)
    with served(POLICY, stages) as server:
        status, _, found = post(server, body_of())
    assert (status, found["choices"][0]["message"]["content"]) == (200, "\ud83d")


def test_names_of_stages_fit_into_headers(stages):
    policy = Policy(["é%/b", "large"], [-0.5, -INF], "logprob")
    with served(policy, {"é%/b": stages["small"], "large": stages["large"]}) as server:
        status, headers, _ = post(server, body_of())
    assert (status, headers["x-cascade-stage"]) == (200, "%C3%A9%25/b")


def test_models_and_health(stages):
    with served(POLICY, stages, options={"model": "our/model"}) as server, client_of(server) as client:
        assert [model.id for model in client.models.list()] == ["our/model"]
        assert client.models.retrieve("our/model").owned_by == "bayescascade"
        with pytest.raises(openai.NotFoundError, match="there is no model 'x'"):
            client.models.retrieve("x")
        assert json.loads(request(server, "GET", "/health")[2])["status"] == "ok"
        for method, path, expected in (("GET", "/docs", 404), ("GET", CHAT, 405)):
            status, _, found = request(server, method, path)
            assert status == expected
            assert "no such path or method" in json.loads(found)["error"]["message"]


def test_metrics(stages, large):
    with served(POLICY, stages) as server, client_of(server) as client:
        for prompt in ("-0.1", "-0.9"):
            ask(client, prompt)
        large.reply = lambda prompt: (500, {})
        with pytest.raises(openai.InternalServerError):
            ask(client, "-0.9")
        text = metrics_of(server)
    for line in (
        'bayescascade_queries_total{decision="accept",stage="small"} 1.0',
        'bayescascade_queries_total{decision="fail",stage="large"} 1.0',
        'bayescascade_calls_total{decision="defer",stage="small"} 2.0',
        'bayescascade_cost_total{stage="small"} 3.0',
        'bayescascade_cost_total{stage="large"} 5.0',
        'bayescascade_requests_total{status="200"} 2.0',
        'bayescascade_requests_total{status="502"} 1.0',
        "bayescascade_requests_open 0.0",
    ):
        assert line in text.splitlines()


def test_a_key_of_the_clients_own_is_run_once(stages, small, tmp_path):
    key = {"Idempotency-Key": "order-7"}
    with served(POLICY, stages, log=tmp_path / "log.jsonl") as server, client_of(server) as client:
        first, second = (ask(client, "-0.1", extra_headers=key) for _ in range(2))
        assert first.parse().id == second.parse().id == "chatcmpl-order-7"
        assert len(small.requests) == 1
        assert 'bayescascade_cost_total{stage="small"} 1.0' in metrics_of(server)
        with pytest.raises(openai.ConflictError, match="sent with other messages"):
            ask(client, "-0.2", extra_headers=key)
        with pytest.raises(openai.BadRequestError, match="Idempotency-Key has 1 to 200"):
            ask(client, "-0.2", extra_headers={"Idempotency-Key": "x" * 201})


# ---- what fails


def test_all_stages_failed(stages, small, large, tmp_path, caplog):
    small.reply = large.reply = lambda prompt: completion("A", None)
    log = tmp_path / "log.jsonl"
    with (
        served(POLICY, stages, log=log) as server,
        client_of(server, max_retries=3) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        ask(client, "-0.1")
    # the client was told not to ask again for what is paid already
    assert len(small.requests) == len(large.requests) == 1
    assert (caught.value.status_code, caught.value.code) == (502, "no_answer")
    assert caught.value.response.headers["x-cascade-stage"] == "large"
    query = caught.value.response.headers["x-cascade-query"]
    assert query in str(caught.value)
    assert [line["query"] for line in lines_of(log)] == [query, query]
    assert "there are no log-probabilities" in caplog.text


def test_addresses_and_keys_of_endpoints_are_not_told(stages, small, large, monkeypatch, caplog):
    monkeypatch.setenv("A_KEY", TOKEN)
    stages["small"] = Endpoint("m", small.url, "A_KEY", retries=0)
    small.reply = lambda prompt: (401, {})
    with served(POLICY, stages) as server:
        status, _, found = post(server, body_of())
    assert status == 503
    assert found["error"]["code"] == "stage_unusable"
    said = json.dumps(found)
    assert small.url not in said
    assert "A_KEY" not in said
    assert "check the key in A_KEY" in caplog.text
    assert TOKEN not in said + caplog.text


def test_an_answer_that_the_budget_does_not_pay_is_a_refusal(stages):
    with served(POLICY, stages, budget=Budget(per_query=2.0)) as server, client_of(server) as client:
        raw = ask(client, "-0.9")
    assert raw.headers["x-cascade-decision"] == "abstain"
    assert "that it can pay for" in raw.parse().choices[0].message.refusal


def test_a_budget_that_is_spent(stages):
    budget = Budget(per_period=1.0)
    with served(POLICY, stages, budget=budget) as server, client_of(server, max_retries=2) as client:
        ask(client, "-0.1")
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client, "-0.1")
    assert caught.value.code == "insufficient_quota"


def test_a_fault_of_ours_says_nothing_of_itself(stages, monkeypatch, caplog):
    async def broken(self, messages, query=None):
        raise RuntimeError("SECRET")

    monkeypatch.setattr(Cascade, "answer", broken)
    with served(POLICY, stages) as server:
        status, _, found = post(server, body_of())
    assert (status, found["error"]["type"]) == (500, "server_error")
    assert "SECRET" not in json.dumps(found)
    assert "SECRET" in caplog.text


# ---- what is refused


@pytest.mark.parametrize(
    ("body", "status", "param", "fragment"),
    [
        (b"{", 400, None, "is not JSON"),
        (b"\xff", 400, None, "is not JSON"),
        (b"[" * 100_000, 400, None, "is not JSON"),
        (b'{"model": NaN}', 400, None, "is not JSON"),
        (b"[]", 400, None, "should be a JSON object"),
        ({"messages": []}, 400, "model", "there is no model; this server has 'bayescascade'"),
        (body_of(model="gpt"), 404, "model", "there is no model 'gpt'"),
        ({"model": "bayescascade"}, 400, "messages", "messages should be a list"),
        (body_of(messages=[]), 400, "messages", "a list of objects with role and content"),
        (body_of(messages=["a"]), 400, "messages", "a list of objects with role and content"),
        (body_of(messages="a"), 400, "messages", "messages should be a list"),
        (body_of(frobnicate=1), 400, "frobnicate", "unknown field 'frobnicate'; take it out"),
        (body_of(stream="yes"), 400, "stream", "stream should be true or false"),
        (body_of(n=2), 400, "n", "n is 2, but a cascade gives one answer; leave n out"),
        (body_of(n=[]), 400, "n", "a cascade gives one answer"),
        (body_of(n=True), 400, "n", "a cascade gives one answer"),
        (body_of(tools=[{"type": "function"}]), 400, "tools", "does not take tools: the answer is text"),
        (body_of(tool_choice="auto"), 400, "tool_choice", "does not take tool_choice"),
        (
            body_of(response_format={"type": "json_object"}),
            400,
            "response_format",
            "does not take response_format",
        ),
        (body_of(logprobs=True), 400, "logprobs", "the answer has no log-probabilities"),
        (body_of(stop=["x"]), 400, "stop", "tuned for whole answers"),
        (body_of(modalities=["audio"]), 400, "modalities", "answers in text"),
    ],
)
def test_requests_that_are_refused(idle, body, status, param, fragment):
    found = post(idle, body)
    assert found[0] == status
    error = found[2]["error"]
    assert fragment in error["message"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert "bayescascade_calls_total{" not in metrics_of(idle)


def test_what_asks_for_no_more_than_there_is(stages, small):
    more = {"n": 1, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "logprobs": False}
    more |= {"stop": None, "user": "u", "temperature": 0.3, "max_tokens": 5, "seed": None}
    with served(POLICY, stages) as server, client_of(server) as client:
        raw = ask(client, "-0.1", **more)
    assert raw.headers["x-cascade-not-applied"] == "max_tokens, temperature"
    assert "temperature" not in small.requests[0]


def test_a_request_that_is_too_large(stages, small):
    with served(POLICY, stages, options={"max_bytes": 1000}) as server, client_of(server) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, "x" * 2000)
        assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
        # far more than the buffers between hold
        assert post(server, body_of("x" * 20_000_000))[0] == 413
        # without a length, it is counted as it comes
        status, _, found = post(server, iter([json.dumps(body_of("x" * 2000)).encode()]))
        assert (status, found["error"]["code"]) == (413, "request_too_large")
        ask(client, "-0.1")
    assert len(small.requests) == 1


def test_a_page_in_a_browser_cannot_ask(idle):
    assert post(idle, body_of(), **{"Content-Type": "text/plain"})[0] == 415


def test_a_token(stages, small, monkeypatch):
    monkeypatch.setenv("SERVER_TOKEN", TOKEN)
    with served(POLICY, stages, options={"token_env": "SERVER_TOKEN"}) as server:
        with client_of(server, api_key=TOKEN) as client:
            ask(client, "-0.1")
            assert len(list(client.models.list())) == 1
        with client_of(server, api_key="wrong") as client:
            for asked in (lambda: ask(client, "-0.1"), lambda: list(client.models.list())):
                with pytest.raises(openai.AuthenticationError, match="the token is missing or wrong"):
                    asked()
        for header in ({}, {"Authorization": TOKEN}, {"Authorization": "Bearer \xe9"}):
            status, headers, found = post(server, b"{", **header)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in json.dumps(found)
        assert "the token is missing" in metrics_of(server)
        assert request(server, "GET", "/health")[0] == 200
    assert len(small.requests) == 1


def test_a_queue_that_is_full(stages, small):
    small.delay = 0.5
    answers = []
    with served(POLICY, stages, options={"max_queue": 2}) as server, client_of(server) as client:
        threads = [threading.Thread(target=lambda: answers.append(ask(client, "-0.1"))) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: small.busy == 2)
        status, headers, found = post(server, body_of())
        for thread in threads:
            thread.join()
        assert (status, found["error"]["code"]) == (429, "queue_full")
        assert 1 <= int(headers["retry-after"]) <= 60
        assert len(answers) == 2
        # OpenAI's client waits as it is told, and comes again
        threads = [threading.Thread(target=lambda: answers.append(ask(client, "-0.1"))) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: small.busy == 2)
        assert ask(client.with_options(max_retries=2), "-0.1").status_code == 200
        for thread in threads:
            thread.join()
        assert 'bayescascade_requests_total{status="429"} 2.0' in metrics_of(server)


# ---- ends


def wait_for(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_goes_away_is_logged_and_makes_room(stages, small, tmp_path):
    small.delay = 0.3
    log = tmp_path / "log.jsonl"
    with served(POLICY, stages, log=log, options={"max_queue": 1}) as server, client_of(server) as client:
        body = json.dumps(body_of()).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection(("127.0.0.1", int(server.root.rpartition(":")[2]))) as plain:
            plain.sendall(head.encode() + b"\r\n\r\n" + body)
            wait_for(lambda: small.busy == 1)
        wait_for(lambda: "bayescascade_requests_open 0.0" in metrics_of(server))
        assert [line["decision"] for line in lines_of(log)] == ["accept"]  # it is paid, so it is kept
        ask(client, "-0.1")


def test_a_client_that_goes_away_within_its_request(stages, small):
    with served(POLICY, stages) as server, client_of(server) as client:
        with socket.create_connection(("127.0.0.1", int(server.root.rpartition(":")[2]))) as plain:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 99"
            plain.sendall(head.encode() + b"\r\n\r\n{")
        ask(client, "-0.1")
    assert len(small.requests) == 1


def test_a_stop_lets_requests_end(stages, small, tmp_path):
    small.delay = 0.5
    log = tmp_path / "log.jsonl"
    answers = []
    with served(POLICY, stages, log=log) as server, client_of(server) as client:
        thread = threading.Thread(target=lambda: answers.append(ask(client, "-0.9")))
        thread.start()
        wait_for(lambda: small.busy == 1)
        server.stop()
        thread.join()
        with pytest.raises(openai.APIConnectionError):
            ask(client, "-0.1")
    assert answers[0].parse().choices[0].message.content == "L"
    assert [line["last"] for line in lines_of(log)] == [False, True]
    # the log is free, and whole
    again = bc.read_log(log, confidence_kind="logprob", stages=POLICY.stages, labels=False)
    assert again.sizes["query"] == 1


# ---- an app


def test_an_app_may_be_mounted(stages):
    import fastapi
    from fastapi.testclient import TestClient

    cascade = Cascade(POLICY, stages)
    outer = fastapi.FastAPI()
    outer.mount("/cascade", app(cascade))
    with TestClient(outer) as client:
        found = client.post(f"/cascade{CHAT}", json=body_of()).json()
        client.portal.call(cascade.close)
    assert found["choices"][0]["message"]["content"] == "A"


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"max_queue": 0}, "max_queue=0"),
        ({"max_bytes": True}, "max_bytes=True"),
        ({"model": " "}, "model=' '"),
        ({"token_env": "NO_TOKEN"}, "variable NO_TOKEN is not set"),
        ({"token_env": "BAD_TOKEN"}, "characters that a header cannot"),
    ],
)
def test_options_that_are_wrong(monkeypatch, options, fragment):
    monkeypatch.delenv("NO_TOKEN", raising=False)
    monkeypatch.setenv("BAD_TOKEN", "é" + TOKEN)
    cascade = Cascade(Policy(["human"], [-INF], "probability"), {"human": lambda messages: "yes"})
    with pytest.raises(CascadeError) as caught:
        app(cascade, **options)
    assert fragment in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_an_app_needs_a_cascade():
    with pytest.raises(CascadeError, match="give a Cascade"):
        app(POLICY)
