"""A proxy that makes a model call the tools that a test wants.

No model of three million parameters does what a coding agent needs. So three things of a request
are changed. Only the wanted arguments of the wanted tool are possible. Its call is demanded until
its result is there. An answer after that is short.
"""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

ANSWER_TOKENS = 24
CALL_TOKENS = 400
_NOT_PASSED_ON = {
    *("host", "content-length", "connection", "accept-encoding", "transfer-encoding"),
    "content-encoding",
}


class DemandingProxy:
    """A server in front of a server.

    Parameters
    ----------
    target
        Base URL of the server.
    calls
        The arguments of each tool that is wanted, in order. Tools that a request does not offer are
        passed over.
    """

    def __init__(self, target: str, calls: Mapping[str, Mapping[str, Any]]) -> None:
        self.target = target.rstrip("/")
        self.calls = calls
        self.statuses: list[tuple[str, int]] = []
        self.results: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def pass_on(self) -> None:
                proxy.pass_on(self)

            do_GET = do_HEAD = do_POST = pass_on  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "DemandingProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        """Send a request to the server, and its answer back as it comes."""
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        if request.command == "POST" and body.startswith(b"{"):
            wanted = json.loads(body)
            self._demand(request.path.partition("?")[0], wanted)
            body = json.dumps(wanted).encode()
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _NOT_PASSED_ON
        }
        address = self.target + request.path
        with httpx.stream(
            request.command, address, content=body, headers=headers, timeout=600, trust_env=False
        ) as answer:
            self.statuses.append((request.path, answer.status_code))
            request.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _NOT_PASSED_ON:
                    request.send_header(name, value)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            if request.command == "HEAD":
                return
            for chunk in answer.iter_bytes():
                request.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                request.wfile.flush()
            request.wfile.write(b"0\r\n\r\n")

    def _demand(self, path: str, body: dict[str, Any]) -> None:
        api = next((api for end, api in _APIS.items() if path.endswith(end)), None)
        if api is None:
            return
        tools = api.tools(body)
        results = api.results(body)
        self.results += results
        wanted = [(name, self.calls[name]) for name in self.calls if name in tools]
        for name, arguments in wanted:
            tools[name][api.schema] = {
                "type": "object",
                "properties": {key: {"const": value} for key, value in arguments.items()},
                "required": list(arguments),
                "additionalProperties": False,
            }
        # After a result the next tool is wanted, if there is one.
        left = wanted[1:] if results else wanted[:1]
        if left:
            body["tool_choice"] = api.choice(left[0][0])
            body[api.limit] = CALL_TOKENS
            body.pop("thinking", None)
        else:
            body[api.limit] = ANSWER_TOKENS
            if body.get("tools"):
                body["tool_choice"] = api.no_choice


class _Api:
    """Where an API keeps what a demand needs."""

    schema = "parameters"
    limit = "max_tokens"
    no_choice: Any = "none"

    def tools(self, body: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the functions that a request offers, by their names."""
        return {
            tool["function"]["name"]: tool["function"]
            for tool in body.get("tools") or []
            if tool.get("type") == "function"
        }

    def results(self, body: dict[str, Any]) -> list[str]:
        """Return the tool results at the end of a request."""
        last = body["messages"][-1]
        return [json.dumps(last["content"])] if last["role"] == "tool" else []

    def choice(self, name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name}}


class _Messages(_Api):
    schema = "input_schema"
    no_choice = {"type": "none"}  # noqa: RUF012

    def tools(self, body: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {tool["name"]: tool for tool in body.get("tools") or [] if self.schema in tool}

    def results(self, body: dict[str, Any]) -> list[str]:
        last = body["messages"][-1]["content"]
        blocks = [] if isinstance(last, str) else last
        return [json.dumps(block) for block in blocks if block["type"] == "tool_result"]

    def choice(self, name: str) -> dict[str, Any]:
        return {"type": "tool", "name": name}


class _Responses(_Api):
    limit = "max_output_tokens"

    def tools(self, body: dict[str, Any]) -> dict[str, dict[str, Any]]:
        tools = body.get("tools") or []
        return {tool["name"]: tool for tool in tools if tool["type"] == "function"}

    def results(self, body: dict[str, Any]) -> list[str]:
        last = body["input"][-1]
        return [json.dumps(last["output"])] if last["type"] == "function_call_output" else []

    def choice(self, name: str) -> dict[str, Any]:
        return {"type": "function", "name": name}


_APIS = {"/chat/completions": _Api(), "/messages": _Messages(), "/responses": _Responses()}
