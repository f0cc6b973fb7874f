"""Reorder the messages of a client into the form that chat templates expect.

The messages are dicts in OpenAI's shape, as they go to the engine.
"""

from collections.abc import Iterable
from typing import Any

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import content_of, pieces_of

ChatMessage = dict[str, Any]
_SYSTEM = ("system", "developer")
_MARKED = (
    "A system message after the first other message stays where it is, marked with <system> in a "
    "user message, because most chat templates take a system message only at the beginning."
)


def with_one_system_message(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Return the messages with one system message at most, which is the first one.

    Most templates take no other. Those at the beginning are joined. A later one stays where it is,
    as a marked part of a user message: at the beginning it would change the prompt from there on,
    and nothing after it could come from the prefix cache.
    """
    first = next((at for at, each in enumerate(messages) if each["role"] != "system"), None)
    texts = [message["content"] for message in messages[:first]]
    joined = "\n\n".join(text for text in texts if text)
    ordered: list[ChatMessage] = [{"role": "system", "content": joined}] if texts else []
    follows_mark = False
    for message in messages[len(texts) :]:
        is_late = message["role"] == "system"
        if is_late and not message["content"]:
            continue
        added = message
        if is_late:
            added = {"role": "user", "content": marked_system_text(message["content"])}
        if (is_late or follows_mark) and added["role"] == ordered[-1]["role"] == "user":
            pieces = [*pieces_of(ordered[-1]["content"]), *pieces_of(added["content"])]
            ordered[-1] = {**ordered[-1], **added, "content": content_of(pieces)}
        else:
            ordered.append(added)
        follows_mark = is_late
    return ordered


def marked_system_text(text: str) -> str:
    """Return the text of a system message for a place where chat templates take none."""
    return f"<system>\n{text}\n</system>"


def notices_on_order(roles: Iterable[str]) -> list[str]:
    """Return what a client should know of messages with these roles: which are marked."""
    late = False
    for role in roles:
        if role not in _SYSTEM:
            late = True
        elif late:
            return [_MARKED]
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
