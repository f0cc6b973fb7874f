"""Messages and tool calls of Ollama's `api/chat`, and their conversion for the engine.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import ContentPiece, ImageSource, content_of, text_of
from mlx_notebook.server.wire.conversation import (
    ChatMessage,
    with_one_system_message,
    with_ordered_tool_results,
)


class OllamaCalledFunction(Struct):
    """The function of a tool call. `arguments` is an object, never text."""

    name: str
    arguments: dict[str, Any] | None = None
    index: int | None = None
    description: str | None = None


class OllamaCall(Struct):
    """A tool call of an earlier turn."""

    function: OllamaCalledFunction
    id: str | None = None
    type: str | None = None


class OllamaMessage(Struct):
    """A message. `images` are base64. `tool_name` names the tool that a result is of."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    name: str | None = None


def pieces_with_images(text: str, images: list[str] | None, path: str) -> list[ContentPiece]:
    """Return images, then the text that is about them. `path` is the JSON path of the images."""
    sources = [ImageSource(given, f"{path}[{index}]") for index, given in enumerate(images or ())]
    return [*sources, text]


def ollama_chat_messages(messages: list[OllamaMessage]) -> list[ChatMessage]:
    """Return the messages for the engine.

    Raises
    ------
    InvalidRequest
        A message has content that its role cannot have, or a tool result matches no call.
    """
    rendered = [_rendered(message, f"messages[{at}]") for at, message in enumerate(messages)]
    return with_one_system_message(with_ordered_tool_results(rendered))


def _rendered(message: OllamaMessage, path: str) -> ChatMessage:
    """Return a message as chat templates expect it."""
    pieces = pieces_with_images(message.content or "", message.images, f"{path}.images")
    if message.tool_calls and message.role != "assistant":
        raise InvalidRequest(
            f"'{path}.tool_calls' is only possible in messages of the role 'assistant'.",
            param=f"{path}.tool_calls",
            code="unsupported_content",
        )
    match message.role:
        case "system":
            return {"role": "system", "content": text_of(pieces, "system")}
        case "user":
            return {"role": "user", "content": content_of(pieces)}
        case "assistant":
            return _assistant(message, text_of(pieces, "assistant"))
        case "tool":
            result: ChatMessage = {"role": "tool", "content": content_of(pieces)}
            if message.tool_call_id:
                result["tool_call_id"] = message.tool_call_id
            if name := message.tool_name or message.name:
                result["name"] = name
            return result


def _assistant(message: OllamaMessage, content: str) -> ChatMessage:
    rendered: ChatMessage = {"role": "assistant", "content": content}
    if message.thinking:
        rendered["reasoning_content"] = message.thinking
    if message.tool_calls:
        rendered["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": call.function.arguments or {},
                },
            }
            for call in message.tool_calls
        ]
    return rendered
