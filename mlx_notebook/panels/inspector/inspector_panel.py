"""The inspector: the traces of all requests of this user."""

import json
from typing import Any

from mlx_notebook.notebook.errors import NotebookError, RequestRefused
from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from mlx_notebook.panels.base.static_html import request_block
from mlx_notebook.panels.inspector.replay_code import as_curl, as_python, request_of

# How many requests with tool calls a saved notebook shows in full, and how long loading may take.
_DETAILED = 5
_TIMEOUT_SECONDS = 5.0
_LISTED = ("id", "title", "model", "endpoint", "status", "created", "seconds", "calls", "problems")


class InspectorPanel(Panel):
    """Requests of this notebook and of all other clients of the same user."""

    _esm = module("inspector/inspector")
    name = "Inspector"
    topics = frozenset({"traces", "models"})

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Return the requests by id, and the models for a replay."""
        if source.traces is None:
            return {}
        usable = [
            model["id"]
            for model in (source.models or {}).get("models", ())
            if model["state"] in ("resident", "available", "upstream")
            and "chat" in model["capabilities"]
        ]
        return {
            "traces": {trace["id"]: _listed(trace) for trace in source.traces},
            "models": usable,
        }

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return one line for each request, newest first."""
        return [(trace["title"] or id, _summary(trace)) for id, trace in self._traces.items()]

    def summary_html(self) -> str:
        """Return the newest requests with tool calls in full; none if the server takes too long."""
        called = [id for id, trace in self._traces.items() if trace["calls"]]
        exported = self.watcher.thread.start(self.do_export(called[:_DETAILED]))
        if exported is None:
            return ""
        try:
            traces = exported.result(_TIMEOUT_SECONDS)
        except TimeoutError:
            exported.cancel()
            return ""
        except NotebookError:
            return ""
        return "".join(request_block(trace, is_open=not at) for at, trace in enumerate(traces))

    @property
    def _traces(self) -> dict[str, dict[str, Any]]:
        traces: dict[str, dict[str, Any]] = self.fields.get("traces", {})
        return traces

    async def do_search(self, text: str) -> list[str]:
        """Return the ids of the requests that contain a text."""
        found = await self.get("mlx/traces", search=text)
        return [trace["id"] for trace in found["data"]]

    async def do_trace(self, id: str) -> dict[str, Any]:
        """Return a trace with the arguments of its tool calls checked and their results added."""
        trace: dict[str, Any] = await self.get(f"mlx/traces/{id}")
        for row in trace["rows"]:
            for call in row["calls"]:
                call["faults"] = faults(call, trace["tools"])
                call["result"] = await self._result(call["id"])
        return trace

    async def do_export(self, ids: list[str]) -> list[dict[str, Any]]:
        """Return several traces as `do_trace` does."""
        return [await self.do_trace(id) for id in ids]

    async def do_curl(self, id: str) -> str:
        """Return a request as a curl command."""
        path, body = _again(await self.get(f"mlx/traces/{id}"))
        assert self.watcher.server is not None
        return as_curl(self.watcher.server.url, path, body)

    async def do_python(self, id: str) -> str:
        """Return a request as Python code."""
        return as_python(*_again(await self.get(f"mlx/traces/{id}")))

    async def do_replay(self, id: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Send a request again with other settings and return its trace."""
        path, body = _again(await self.get(f"mlx/traces/{id}"), **changes)
        answer = await self.post(path, **body)
        return await self.do_trace(answer["id"])

    async def _result(self, call_id: str) -> str | None:
        """Return the result of a tool call, which is in a later request."""
        found = (await self.get("mlx/traces", search=call_id))["data"]
        for summary in reversed(found):
            trace = await self.get(f"mlx/traces/{summary['id']}")
            for message in trace["messages"]:
                if message["role"] == "tool" and message.get("tool_call_id") == call_id:
                    return str(message["content"])
        return None


def faults(call: dict[str, Any], tools: list[dict[str, Any]]) -> list[str]:
    """Return how the arguments of a tool call do not fit the tool's schema."""
    import jsonschema  # type: ignore[import-untyped]

    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    if call["name"] not in schemas:
        return [f"no tool {call['name']!r} was offered"]
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except ValueError as error:
        return [f"the arguments are not JSON: {error}"]
    try:
        checker = jsonschema.validators.validator_for(schemas[call["name"]])(schemas[call["name"]])
        return [
            f"{'.'.join(map(str, fault.absolute_path)) or 'arguments'}: {fault.message}"
            for fault in checker.iter_errors(arguments)
        ]
    except jsonschema.SchemaError as error:
        return [f"the tool's schema is not valid: {error.message}"]
    except jsonschema.exceptions.UnknownType as error:
        return [f"the tool's schema is not valid: unknown type {error.type!r}"]


def _again(trace: dict[str, Any], **changes: Any) -> tuple[str, dict[str, Any]]:
    try:
        return request_of(trace, **changes)
    except ValueError as error:
        raise RequestRefused(str(error)) from None


def _summary(trace: dict[str, Any]) -> str:
    calls = f"calls {', '.join(trace['calls'])}" if trace["calls"] else ""
    parts = [trace["status"], calls, trace["model"], f"{trace['seconds']} s"]
    return " · ".join(part for part in parts if part)


def _listed(trace: dict[str, Any]) -> dict[str, Any]:
    """Return the fields for the list. The time of a running request is left out: it changes."""
    line = {name: trace.get(name) for name in _LISTED}
    return {**line, "seconds": round(trace["seconds"], 2) if trace["status"] != "running" else 0}


def inspector() -> InspectorPanel:
    """Create an inspector of requests and tool calls. Display it as the last expression of a cell.

    Returns
    -------
    InspectorPanel
        The panel.

    Examples
    --------
    >>> mlx_notebook.inspector()
    """
    return InspectorPanel()
