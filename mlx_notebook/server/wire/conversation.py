"""Reorder the messages of a client into the form that chat templates expect.

The messages are dicts in OpenAI's shape, as they go to the engine.
"""

from collections.abc import Iterable
from typing import Any

from mlx_notebook.server.errors import InvalidRequest

ChatMessage = dict[str, Any]
_SYSTEM = ("system", "developer")
_MOVED = (
    "A system message after the first other message was moved to the beginning, because most chat "
    "templates take it only there."
)


def with_one_system_message(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Return the messages with all system messages joined into a first one.

    Most templates accept one system message, and only at the start.
    """
    texts = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    joined = "\n\n".join(text for text in texts if text)
    return [{"role": "system", "content": joined}, *others] if texts else others


def notices_on_order(roles: Iterable[str]) -> list[str]:
    """Return what a client should know of messages with these roles: which ones have been moved."""
    late = False
    for role in roles:
        if role not in _SYSTEM:
            late = True
        elif late:
            return [_MOVED]
    return []


def with_ordered_tool_results(
    messages: list[ChatMessage], path: str = "messages"
) -> list[ChatMessage]:
    """Return the messages with tool results in the order of their calls, each with a call id.

    Some clients omit ids, and many send results in the order in which the tools finished. Templates
    match results to calls by position.

    Raises
    ------
    InvalidRequest
        A result's id matches no earlier call.
    """
    matched: list[ChatMessage] = []
    calls = _Calls()
    run: list[ChatMessage] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            run.append(calls.match(message, f"{path}[{index}]"))
            continue
        matched += calls.ordered(run)
        run = []
        matched.append(message)
        if message.get("tool_calls"):
            calls.begin(message["tool_calls"], index)
    return [*matched, *calls.ordered(run)]


class _Calls:
    """The tool calls so far, and those of the last turn that have no result yet."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._turn: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []
        self._nameless: list[dict[str, Any]] = []

    def begin(self, calls: list[dict[str, Any]], at: int) -> None:
        """Record the calls of a turn. A call without an id gets one that depends on its position.

        So the same messages always give the same prompt.
        """
        self._turn = calls
        self._waiting = list(calls)
        self._nameless = [call for call in calls if not call.get("id")]
        for number, call in enumerate(calls):
            call["id"] = call.get("id") or f"call_{at}_{number}"
            self._names[call["id"]] = call["function"]["name"]

    def match(self, result: ChatMessage, path: str) -> ChatMessage:
        """Return a tool result with the id and the name of its call."""
        id = result.get("tool_call_id")
        if not id:
            call = self._waiting[0] if self._waiting else None
            id = call["id"] if call is not None else None
        elif id not in self._names:
            call = next((call for call in self._nameless if call in self._waiting), None)
            if call is None:
                raise InvalidRequest(
                    f"No tool call before this result has the id {id[:200]!r}.",
                    param=f"{path}.tool_call_id",
                    code="unknown_tool_call_id",
                )
            self._names[id] = self._names.pop(call["id"])
            call["id"] = id
        self._waiting = [call for call in self._waiting if call["id"] != id]
        matched = {"role": "tool", "content": result["content"]}
        if id:
            matched["tool_call_id"] = id
        name = result.get("name") or self._names.get(id or "")
        if name:
            matched["name"] = name
        return matched

    def ordered(self, results: list[ChatMessage]) -> list[ChatMessage]:
        """Return consecutive results in the order of the last turn's calls."""
        places = {call["id"]: place for place, call in enumerate(self._turn)}
        return sorted(results, key=lambda result: places.get(result.get("tool_call_id"), -1))
