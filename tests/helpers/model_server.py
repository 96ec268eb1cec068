"""A small server on loopback that speaks chat completions, and can be told to misbehave."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}


def completion(text="B", logprob=-0.1, **more):
    """A chat completion as OpenAI sends it."""
    content = [{"token": text, "logprob": logprob, "bytes": None, "top_logprobs": []}]
    logprobs = None if logprob is None else {"content": content}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
        "logprobs": logprobs,
    }
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{**choice, **more}],
        "usage": dict(USAGE),
    }


class Model:
    """What a server answers: the queue first, then what ``reply`` makes of the prompt.

    An item of the queue is a status with headers, a completion, bytes, ``"half"`` or a wait in seconds.
    """

    def __init__(self, reply=None, delay=0.0):
        self.reply = reply or (lambda prompt: completion())
        self.delay, self.queue, self.requests, self.keys = delay, [], [], []
        self.busy = self.most = 0
        self.url = ""


def handler_of(model):
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                model.requests.append(asked)
                model.keys.append(self.headers.get("Authorization", ""))
                model.busy += 1
                model.most = max(model.most, model.busy)
                item = model.queue.pop(0) if model.queue else None
            try:
                time.sleep(model.delay)
                if isinstance(item, float):
                    time.sleep(item)
                    item = None
                self.respond(item if item is not None else model.reply(asked["messages"][-1]["content"]))
            except (BrokenPipeError, ConnectionResetError):  # who asked has left
                self.close_connection = True
            finally:
                with lock:
                    model.busy -= 1

        def respond(self, item):
            status, headers, body = 200, {}, b""
            if isinstance(item, tuple):
                status, headers = item
                key = self.headers.get("Authorization", "")
                body = json.dumps({"error": {"message": f"refused: {key}", "type": "t"}}).encode()
            elif isinstance(item, bytes):
                body = item
            else:
                body = json.dumps(completion() if item == "half" else item).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:20] if item == "half" else body)
            if item == "half":
                self.close_connection = True

        def log_message(self, *args):
            pass

    return Handler


class Server(ThreadingHTTPServer):
    """Silent about clients that were killed."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@contextmanager
def serving(reply=None, delay=0.0):
    """A running `Model`."""
    model = Model(reply, delay)
    server = Server(("127.0.0.1", 0), handler_of(model))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
