"""A tool call and its result."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from mlx_notebook.notebook.answers.tool_result import Content

State = Literal["writing", "waiting", "running", "done", "failed", "refused", "interrupted"]


@dataclass
class ToolCall:
    """A tool call, from the model's request to the result.

    Attributes
    ----------
    id
        The id that the model or the server gave it.
    name
        The name of the tool.
    written
        The JSON text of the arguments as the model wrote it, valid or not.
    arguments
        The arguments that the tool is called with: `written` decoded, or what `before_call` has
        replaced it with. `None` if `written` is not a JSON object.
    state
        A `waiting` call has not started. A `failed` or `refused` one was answered with `error`. An
        `interrupted` one was not answered; it runs again when the chat is resumed.
    value
        What the function returned.
    content
        What the model gets: text, or text and images as content parts.
    error
        What went wrong, in one sentence, which the model gets too.
    traceback
        Where it went wrong, for the user.
    seconds
        How long the tool took.
    """

    id: str
    name: str
    written: str = ""
    arguments: dict[str, Any] | None = None
    state: State = "writing"
    value: Any = field(default=None, repr=False)
    content: Content = field(default="", repr=False)
    error: str | None = None
    traceback: str | None = field(default=None, repr=False)
    seconds: float | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the call has a tool result, which may be an error."""
        return self.state in ("done", "failed", "refused")

    @property
    def openai_call(self) -> dict[str, Any]:
        """The call as an entry of an assistant message's `tool_calls`."""
        function = {"name": self.name, "arguments": self.written}
        return {"id": self.id, "type": "function", "function": function}

    @property
    def result(self) -> dict[str, Any]:
        """The tool message with the result."""
        return {"role": "tool", "tool_call_id": self.id, "content": self.content}

    def decode(self) -> None:
        """Decode `written` if it is a JSON object. Otherwise the tool reports what is wrong."""
        try:
            decoded = json.loads(self.written or "{}")
        except (ValueError, RecursionError):
            return
        if isinstance(decoded, dict):
            self.arguments = decoded

    def __str__(self) -> str:
        if self.arguments is None:
            return f"{self.name}({self.written})"
        given = (f"{name}={_short(value)}" for name, value in self.arguments.items())
        return f"{self.name}({', '.join(given)})"


def pending(messages: list[dict[str, Any]]) -> list[ToolCall]:
    """Return the tool calls at the end of a conversation that have no result yet."""
    answered: set[str] = set()
    for message in reversed(messages):
        if message["role"] == "tool":
            answered.add(message["tool_call_id"])
        elif message["role"] == "assistant":
            return [
                _from_openai(openai_call)
                for openai_call in message.get("tool_calls", ())
                if openai_call["id"] not in answered
            ]
        else:
            break
    return []


def _from_openai(openai_call: dict[str, Any]) -> ToolCall:
    call = ToolCall(
        openai_call["id"], openai_call["function"]["name"], openai_call["function"]["arguments"]
    )
    call.decode()
    call.state = "waiting"
    return call


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
