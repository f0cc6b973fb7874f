"""A faulty server with OpenAI's API: the name of the model says what goes wrong."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-the-secret-key"
MODELS = (
    *("good", "breaks", "garbage", "silent", "huge", "long", "refuses", "busy", "redirects"),
    *("fails", "reports", "plain", "one", "compressed", "filters", "calls", "legacy", "endless"),
)


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    """Return a delta of a tool call."""
    id = {"id": more.pop("id")} if "id" in more else {}
    function = {"arguments": arguments, **more}
    return {"tool_calls": [{"index": index, **id, "function": function}]}


USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
GOOD = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm."}),
    chunk({"content": "Hello"}),
    chunk({"content": " there"}),
    chunk({}, "stop"),
    {"choices": [], "usage": USAGE},
]
CALLS = [
    chunk(call(0, "", name="add", id="call_1")),
    chunk(call(0, '{"a": 1,')),
    chunk(call(0, ' "b": 2}')),
    chunk(call(1, "", name="now", id="call_2")),
    chunk({}, "stop"),
]


class StandIn(ThreadingHTTPServer):
    """The server. `requests` has the path, headers and body of each request.

    `ports` has the client's port of each connection that a request came by.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.ports: list[int] = []
        self.left = threading.Event()
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def last(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1][2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing when a client leaves."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers), {}))
        listed: list[dict[str, Any]] = [{"id": name, "max_model_len": 8192} for name in MODELS]
        # As a server lists the models of its own upstreams.
        listed.append({"id": "other:model", "source": "upstream"})
        self.json(200, {"data": listed})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.server.ports.append(self.client_address[1])
        if self.path == "/v1/embeddings":
            vectors = [{"index": i, "embedding": [0.0, i]} for i in range(len(body["input"]))]
            self.json(200, {"data": vectors[::-1], "usage": {"prompt_tokens": 4}})
            return
        getattr(self, body["model"])(body)

    def json(self, status: int, value: Any, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, *chunks: Any, done: bool = True, **headers: str) -> None:
        self.begin(**headers)
        for each in chunks:
            self.send(b"data: " + json.dumps(each).encode() + b"\n\n")
        if done:
            self.send(b"data: [DONE]\n\n")
            self.send(b"")

    def begin(self, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-request-id", "req-at-upstream")
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    # --- behaviours -------------------------------------------------------------------------------

    def good(self, body: Any) -> None:
        self.stream(*GOOD)

    def plain(self, body: Any) -> None:
        """Answer at once, although a stream was asked for."""
        message = {"role": "assistant", "content": "Hello there"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.json(200, {"choices": choices, "usage": USAGE})

    def one(self, body: Any) -> None:
        """Answer with one choice, whatever `n` says, and without usage."""
        self.stream(*GOOD[:-1])

    def calls(self, body: Any) -> None:
        self.stream(*CALLS)

    def filters(self, body: Any) -> None:
        self.stream(chunk({"content": "I"}), chunk({}, "content_filter"))

    def legacy(self, body: Any) -> None:
        logprobs = {"tokens": ["A"], "token_logprobs": [-0.5], "top_logprobs": [{"B": -1.0}]}
        choice = {"index": 0, "text": "A", "finish_reason": "length", "logprobs": logprobs}
        self.stream({"choices": [choice]})

    def breaks(self, body: Any) -> None:
        self.stream(*GOOD[:3], done=False)
        self.close_connection = True

    def garbage(self, body: Any) -> None:
        self.begin()
        self.send(b"data: <html>\n\n")
        self.send(b"")

    def compressed(self, body: Any) -> None:
        self.stream(*GOOD, Content_Encoding="gzip")

    def silent(self, body: Any) -> None:
        self.begin()
        self.server.release.wait(30)
        self.close_connection = True

    def endless(self, body: Any) -> None:
        """Send words until the client has left."""
        self.begin()
        try:
            while not self.server.release.wait(0.02):
                self.send(b"data: " + json.dumps(chunk({"content": "more "})).encode() + b"\n\n")
        except OSError:
            self.server.left.set()
        self.close_connection = True

    def huge(self, body: Any) -> None:
        """Send more bytes than allowed."""
        self.stream(*([chunk({"content": "x" * 1000})] * 80), done=False)
        self.close_connection = True

    def long(self, body: Any) -> None:
        """Send one event that never ends."""
        self.begin()
        for _ in range(9 * 16):
            self.send(b"data: " + b"x" * 65536)
        self.close_connection = True

    def refuses(self, body: Any) -> None:
        message = f"Incorrect API key provided: {KEY}. You can find it at https://example."
        self.json(401, {"error": {"message": message, "code": "invalid_api_key"}})

    def busy(self, body: Any) -> None:
        error = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}
        self.json(429, {"error": error}, Retry_After="7")

    def fails(self, body: Any) -> None:
        self.json(500, {"detail": "CUDA out of\nmemory"})

    def reports(self, body: Any) -> None:
        self.stream(*GOOD[:3], {"error": {"message": "Overloaded", "code": 529}}, done=False)
        self.close_connection = True

    def redirects(self, body: Any) -> None:
        self.json(307, {}, Location="https://elsewhere.example/v1/chat/completions?x=1")


@contextmanager
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
