"""One tool call: what a model asked for, and what came of it."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from mlx_notebook.notebook.answers.tool_result import Content

State = Literal["writing", "waiting", "running", "done", "failed", "refused", "interrupted"]


@dataclass
class Call:
    """A call of a tool, from the model's wish to the result that it is told.

    Attributes
    ----------
    id, name, written
        As the model gave them; `written` is the JSON of its arguments, right or wrong.
    arguments
        What the tool is called with: `written` decoded, as a `before_call` may have changed it.
        `None` where that is no JSON object.
    state
        `waiting` calls have not begun; a `failed` or `refused` one was answered with `error`; an
        `interrupted` one was not answered, and runs again when the chat is resumed.
    value
        What the function returned.
    content
        What the model is told: text, or text and images as parts of a message.
    error, traceback
        What went wrong in one sentence, which the model is told; and where, for people.
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
        """Whether there is a result, if only an error, for the model."""
        return self.state in ("done", "failed", "refused")

    @property
    def wanted(self) -> dict[str, Any]:
        """The call as it stands in the assistant's message."""
        function = {"name": self.name, "arguments": self.written}
        return {"id": self.id, "type": "function", "function": function}

    @property
    def result(self) -> dict[str, Any]:
        """The message that tells the model the result."""
        return {"role": "tool", "tool_call_id": self.id, "content": self.content}

    def decode(self) -> None:
        """Read `written`, as far as it is an object; the tool itself will say what is wrong."""
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


def pending(messages: list[dict[str, Any]]) -> list[Call]:
    """Calls at a conversation's end that have no result yet."""
    answered: set[str] = set()
    for message in reversed(messages):
        if message["role"] == "tool":
            answered.add(message["tool_call_id"])
        elif message["role"] == "assistant":
            return [
                _again(wish) for wish in message.get("tool_calls", ()) if wish["id"] not in answered
            ]
        else:
            break
    return []


def _again(wish: dict[str, Any]) -> Call:
    call = Call(wish["id"], wish["function"]["name"], wish["function"]["arguments"])
    call.decode()
    call.state = "waiting"
    return call


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
