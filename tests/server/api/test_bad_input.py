"""Each kind of bad input gets its status and message, and the next good request is served."""

import concurrent.futures
import json
import signal
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from mlx_notebook.server.api.http.request_head import without_secrets
from tests.server.running import HELLO, TOKEN, RunningServer, running, wait_for


@pytest.fixture(autouse=True)
def the_next_good_request_is_served(server: RunningServer) -> Iterator[None]:
    yield
    assert server.works()


def post(server: RunningServer, body: Any, **options: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.client.post("v1/chat/completions", content=content, **options)


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return dict(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"messages": [}',
        b"\xff\xfe",
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": ' + b"[" * 100_000,
        b"[]",
        b'"text"',
        b"null",
    ],
    ids=["empty", "words", "broken", "binary", "not utf-8", "deep", "array", "string", "null"],
)
def test_what_is_not_a_json_object_is_refused(server: RunningServer, body: bytes) -> None:
    error = error_of(post(server, body), 400)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": "a \ud800 b"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}]},
            "messages[0].content[0].text",
        ),
        ({"temperature": 9}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": -1}, "min_p"),
        ({"top_k": -2}, "top_k"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -5}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"seed": 2**70}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 1000}}, "logit_bias"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"model": 5}, "model"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"modalities": ["text", "audio"]}, "modalities"),
    ],
)
def test_a_parameter_that_is_not_right_is_named(
    server: RunningServer, changes: dict[str, Any], param: str
) -> None:
    body = {"messages": HELLO, "model": "tiny-chat", **changes}
    error = error_of(post(server, body), 400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


def test_a_token_id_outside_the_vocabulary_is_told(server: RunningServer) -> None:
    body = {"messages": HELLO, "logit_bias": {"5": 1, "99999999": 1}, "max_tokens": 2}
    error = error_of(post(server, body), 400)
    assert error["param"] == "logit_bias"
    assert "99999999" in error["message"]


def test_what_a_request_holds_begins_no_line_of_the_log(server: RunningServer) -> None:
    id = "\n[I] all is well\u2028\x1b[2J"
    message = {"role": "tool", "tool_call_id": id, "content": "x"}
    name = {"messages": HELLO, "model": id}
    for body in ({"messages": [*HELLO, message]}, name):
        error = error_of(post(server, body), 404 if body is name else 400)
        assert "all is well" in error["message"]
    lines = wait_for(lambda: [x for x in server.log.splitlines() if "all is well" in x], 10)
    assert all("HTTPServerRequest" in line or r"\n[I] all" in line for line in lines), lines


@pytest.mark.parametrize(
    "name",
    ["../../etc", "/etc/passwd", "nonesuch", "tiny-chat/..", "..", "", "tiny\x00chat", "é" * 500],
)
def test_a_name_that_is_no_model_lists_those_there_are(server: RunningServer, name: str) -> None:
    response = post(server, {"messages": HELLO, "model": name, "max_tokens": 2})
    if not name:  # as if it were left out
        assert response.status_code == 200
        return
    error = error_of(response, 404)
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert "tiny-chat" in error["message"]


def test_fifty_thousand_messages_are_too_many(server: RunningServer) -> None:
    error = error_of(post(server, {"messages": HELLO * 50_000}), 400)
    assert error["param"] == "messages"
    assert "50,000" in error["message"]


class TestLargeBodies:
    SIZE = 100 * 1024 * 1024

    def test_a_body_of_100_mb_is_refused_and_never_kept(self, server: RunningServer) -> None:
        import psutil

        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        error_of(post(server, b" " * self.SIZE), 413)
        assert process.memory_info().rss - before < self.SIZE / 2

    def test_so_is_one_that_comes_in_chunks_of_unknown_number(self, server: RunningServer) -> None:
        def chunks() -> Iterator[bytes]:
            for _ in range(100):
                yield b" " * 1024 * 1024

        response = server.client.post("v1/chat/completions", content=chunks())
        assert error_of(response, 413)["code"] == "request_too_large"

    def test_a_client_that_asks_first_is_refused_before_it_sends(
        self, server: RunningServer
    ) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head(self.SIZE, "Expect: 100-continue"))
            assert client.recv(100).startswith(b"HTTP/1.1 413")

    def test_one_beyond_all_measure_is_refused_at_once(self, server: RunningServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head(10**12))
            assert client.recv(100).startswith(b"HTTP/1.1 413")

    def test_without_a_token_it_is_refused_for_that(self, server: RunningServer) -> None:
        response = httpx.post(server.url + "v1/chat/completions", content=b" " * self.SIZE)
        assert error_of(response, 401)["code"] == "invalid_api_key"


ONES = b"1," * 5_000_000
OBJECTS = b'{"type": "string"},' * 200_000


class TestBodiesThatTakeLongToBuild:
    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b'{"x": [%b1], "y": 11111111111111111111}' % ONES, "more than 1,000,000 values"),
            (b'{"messages": [%b1]}' % OBJECTS, "more than 100,000 objects and arrays"),
            (b'{"messages": %b' % (b"[" * 10_000_000), "nested more than 128 levels deep"),
        ],
        ids=["values", "objects", "brackets"],
    )
    def test_they_are_refused_before_anything_is_built(
        self, server: RunningServer, body: bytes, said: str
    ) -> None:
        import psutil

        assert server.works()
        process = psutil.Process(server.process.pid)
        memory, before = process.memory_info().rss, process.cpu_times()
        # The server of this module takes 8 MB: the rest of these bodies is never looked at.
        error = error_of(post(server, body[: 8 * 2**20 - 1]), 400)
        after = process.cpu_times()
        assert said in error["message"]
        assert error["code"] == "body_too_complex"
        # The processor's seconds, which a loaded machine does not stretch.
        assert after.user + after.system - before.user - before.system < 1
        assert process.memory_info().rss - memory < 100e6

    def test_a_fault_in_a_large_body_is_told_by_its_value(self, server: RunningServer) -> None:
        text = "word " * 1_000_000
        large = {"messages": [{"role": "user", "content": text}], "seed": 2**70}
        assert str(2**70) in error_of(post(server, large), 400)["message"]

    def test_a_schema_that_is_nested_too_deeply_is_refused(self, server: RunningServer) -> None:
        schema: dict[str, Any] = {"type": "string"}
        for _ in range(400):
            schema = {"type": "object", "properties": {"a": schema}}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        for changes in (
            {"response_format": form},
            {"guided_json": json.dumps(schema)},
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]},
        ):
            error = error_of(post(server, {"messages": HELLO, **changes}), 400)
            assert "nested more than 128 levels deep" in error["message"]


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 0x50"],
        ["Content-Length:"],
        ["Content-Length: -1"],
        ["Content-Length: \xb2"],
        ["Content-Length: 5", "Content-Length: 6"],
    ],
    ids=["hexadecimal", "empty", "negative", "superscript", "twice"],
)
@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_a_length_that_is_no_number_is_told(
    server: RunningServer, lines: list[str], token: str
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(
            "\r\n".join(
                [
                    "POST /nb/v1/chat/completions HTTP/1.1",
                    "Host: localhost",
                    f"Authorization: Bearer {token}",
                    *lines,
                    "",
                    "{}",
                ]
            ).encode("latin-1")
        )
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    status, code = (b"400", b"invalid_header") if token == TOKEN else (b"401", b"invalid_api_key")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert code in answer
    assert "Traceback" not in server.log


def test_a_token_in_an_address_is_never_logged(server: RunningServer) -> None:
    before = len(server.log)
    for name in ("token", "%74oken", "api_key"):
        for method, path, status in (
            ("POST", "v1/chat/completions", 400),
            ("POST", "v1/responses", 400),
            ("GET", "v1/nonesuch", 404),
            ("GET", "v1/models/nonesuch", 404),
        ):
            response = server.client.request(method, f"{path}?a=1&{name}={TOKEN}")
            assert response.status_code == status, response.text
    wait_for(lambda: "nonesuch?a=1&api_key=[secret]" in server.log, 10)
    assert TOKEN not in server.log[before:]


def test_no_description_of_a_request_holds_its_token() -> None:
    line = RequestStartLine("GET", "/v1/models?%74oken=abc&x=1&token=abc", "HTTP/1.1")
    request = HTTPServerRequest(start_line=line, headers=HTTPHeaders(Host="x"))
    request.uri = without_secrets(request)
    assert "abc" not in repr(request)
    assert request.arguments["token"] == [b"abc", b"abc"]
    assert "x=1" in repr(request)


@pytest.fixture(scope="module")
def impatient() -> Iterator[RunningServer]:
    """A server by itself that waits a second for heads and bodies."""
    options = (
        "--MlxNotebookApp.body_timeout_seconds=1",
        "--StandaloneServer.idle_connection_seconds=1",
    )
    with running(alone=True, options=options) as server:
        yield server


def test_a_body_that_never_ends_is_told_so(impatient: RunningServer) -> None:
    for more in (b'{"messages"', b""):
        with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as client:
            client.sendall(head(1000) + more)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"MlxNotebookApp.body_timeout_seconds" in answer
    assert "Traceback" not in impatient.log
    assert impatient.works()


def test_a_stranger_whose_body_never_ends_is_told_of_the_token(impatient: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as client:
        client.sendall(head(1000).replace(TOKEN.encode(), b"wrong"))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"invalid_api_key" in answer
    assert "Traceback" not in impatient.log


def test_a_head_that_never_ends_is_hung_up_on(impatient: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as client:
        client.sendall(head(1000)[:60])
        assert client.recv(1) == b""
    assert "Traceback" not in impatient.log


def head(length: int, *more: str) -> bytes:
    lines = [
        "POST /nb/v1/chat/completions HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {length}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_socket_that_closes_in_mid_body_leaves_nothing_behind(server: RunningServer) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head(1000) + b'{"messages": [{"role": "us')
    wait_for(lambda: server.status()["queue"]["rows"] == 0, 5)


def test_a_large_body_is_not_decoded_once_its_client_has_gone(server: RunningServer) -> None:
    before = server.wait_until_idle()["totals"]["requests"]
    body = json.dumps({"messages": [{"role": "user", "content": "lorem " * 300_000}]}).encode()
    told = len(server.log)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head(len(body)) + body[:-1])
        server.process.send_signal(signal.SIGSTOP)
        client.sendall(body[-1:])
    server.process.send_signal(signal.SIGCONT)
    wait_for(lambda: "499 POST" in server.log[told:], 30)
    assert server.wait_until_idle()["totals"]["requests"] == before
    assert "Traceback" not in server.log[told:]


def test_twice_the_queue_at_once_is_partly_told_to_come_back(server: RunningServer) -> None:
    fits = 8 + 8
    options = {"max_tokens": 60, "ignore_eos": True, "model": "tiny-chat", "seed": 1}
    with concurrent.futures.ThreadPoolExecutor(2 * fits) as pool:
        responses = list(pool.map(lambda _: server.chat(**options), range(2 * fits)))
    served = [r for r in responses if r.status_code == 200]
    refused = [r for r in responses if r.status_code == 429]
    assert len(served) + len(refused) == 2 * fits
    assert len(served) >= fits
    assert refused
    for response in refused:
        assert error_of(response, 429)["code"] == "queue_full"
        assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("v1/chat/completions", {"messages": HELLO}),
        ("v1/responses", {"input": "Hello"}),
        ("v1/messages", {"messages": HELLO, "max_tokens": 4}),
        ("v1/messages/count_tokens", {"messages": HELLO}),
        ("apply-template", {"messages": HELLO}),
        ("tokenize", {"messages": HELLO}),
    ],
)
@pytest.mark.parametrize("name", ["chat_template", "messages", "tools", "tokenize", "max_length"])
def test_no_request_brings_a_template_of_its_own(
    server: RunningServer, route: str, body: dict[str, Any], name: str
) -> None:
    told = {"chat_template_kwargs": {"enable_thinking": False, name: "{{ 'a' * 99 }}"}}
    response = server.client.post(route, json={"model": "tiny-chat", **body, **told})
    assert response.status_code == 400, response.text
    assert f"'{name}'" in response.json()["error"]["message"]
    if not route.startswith("v1/messages"):
        assert response.json()["error"]["param"] == f"chat_template_kwargs.{name}"
