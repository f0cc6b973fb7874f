"""The inspector: every request that the server answered to this user, with all that was said."""

import json
from typing import Any

from mlx_notebook.notebook.errors import NotebookError, RequestRefused
from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from mlx_notebook.panels.base.static_html import request_block
from mlx_notebook.panels.inspector.replay_code import as_curl, as_python, request_of

# Requests with calls that a saved notebook shows in full, and how long the server may take to tell.
_DETAILED = 5
_TIMEOUT_SECONDS = 5.0
_LISTED = ("id", "title", "model", "endpoint", "status", "created", "seconds", "calls", "problems")


class InspectorPanel(Panel):
    """Requests of this notebook and of every other client of the same user, turn by turn."""

    _esm = module("inspector/inspector")
    name = "Inspector"
    topics = frozenset({"traces", "models"})

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Give the list of requests by id, and the models that a replay may use."""
        if source.traces is None:
            return {}
        usable = [
            model["id"]
            for model in (source.models or {}).get("models", ())
            if model["state"] in ("resident", "available") and "chat" in model["capabilities"]
        ]
        return {
            "traces": {trace["id"]: _listed(trace) for trace in source.traces},
            "models": usable,
        }

    def summary_rows(self) -> list[tuple[str, str]]:
        """Give one line a request, newest first."""
        return [(trace["title"] or id, _told(trace)) for id, trace in self._traces.items()]

    def summary_html(self) -> str:
        """Give the newest requests with calls in full; none where the server is slow to tell."""
        called = [id for id, trace in self._traces.items() if trace["calls"]]
        asked = self.watcher.thread.start(self.do_export(called[:_DETAILED]))
        if asked is None:
            return ""
        try:
            traces = asked.result(_TIMEOUT_SECONDS)
        except TimeoutError:
            asked.cancel()
            return ""
        except NotebookError:
            return ""
        return "".join(request_block(trace, is_open=not at) for at, trace in enumerate(traces))

    @property
    def _traces(self) -> dict[str, dict[str, Any]]:
        traces: dict[str, dict[str, Any]] = self.fields.get("traces", {})
        return traces

    async def do_search(self, text: str) -> list[str]:
        """Name the requests that hold a text anywhere."""
        found = await self.get("mlx/traces", search=text)
        return [trace["id"] for trace in found["data"]]

    async def do_trace(self, id: str) -> dict[str, Any]:
        """Give all of one request, its calls' arguments checked, their results looked up."""
        trace: dict[str, Any] = await self.get(f"mlx/traces/{id}")
        for row in trace["rows"]:
            for call in row["calls"]:
                call["faults"] = faults(call, trace["tools"])
                call["result"] = await self._result(call["id"])
        return trace

    async def do_export(self, ids: list[str]) -> list[dict[str, Any]]:
        """Give several requests in full."""
        return [await self.do_trace(id) for id in ids]

    async def do_curl(self, id: str) -> str:
        """Write a request for a shell."""
        path, body = _again(await self.get(f"mlx/traces/{id}"))
        assert self.watcher.server is not None
        return as_curl(self.watcher.server.url, path, body)

    async def do_python(self, id: str) -> str:
        """Write a request for a cell."""
        return as_python(*_again(await self.get(f"mlx/traces/{id}")))

    async def do_replay(self, id: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Ask the same again with other settings, and give what became of it."""
        path, body = _again(await self.get(f"mlx/traces/{id}"), **changes)
        answer = await self.post(path, **body)
        return await self.do_trace(answer["id"])

    async def _result(self, call_id: str) -> str | None:
        """What was sent back for a call: it stands in a request that came later."""
        found = (await self.get("mlx/traces", search=call_id))["data"]
        for summary in reversed(found):
            trace = await self.get(f"mlx/traces/{summary['id']}")
            for message in trace["messages"]:
                if message["role"] == "tool" and message.get("tool_call_id") == call_id:
                    return str(message["content"])
        return None


def faults(call: dict[str, Any], tools: list[dict[str, Any]]) -> list[str]:
    """Say what is wrong with a call's arguments by its tool's schema; nothing where all is well."""
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
    except (jsonschema.SchemaError, jsonschema.exceptions.UnknownType) as error:
        return [f"the tool's schema is not valid: {error.message}"]


def _again(trace: dict[str, Any], **changes: Any) -> tuple[str, dict[str, Any]]:
    try:
        return request_of(trace, **changes)
    except ValueError as error:
        raise RequestRefused(str(error)) from None


def _told(trace: dict[str, Any]) -> str:
    calls = f"calls {', '.join(trace['calls'])}" if trace["calls"] else ""
    parts = [trace["status"], calls, trace["model"], f"{trace['seconds']} s"]
    return " · ".join(part for part in parts if part)


def _listed(trace: dict[str, Any]) -> dict[str, Any]:
    """What the list shows; a running request's time would change all the time."""
    line = {name: trace.get(name) for name in _LISTED}
    return {**line, "seconds": round(trace["seconds"], 2) if trace["status"] != "running" else 0}


def inspector() -> InspectorPanel:
    """Make an inspector of the server's requests; display it as a cell's last expression."""
    return InspectorPanel()
