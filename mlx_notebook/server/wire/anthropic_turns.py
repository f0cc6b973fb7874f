"""Anthropic's content blocks, and the chat messages that they become.

Format: https://docs.anthropic.com/en/api/messages#body-messages.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.sealed import unseal


class TextBlock(Struct, tag_field="type", tag="text"):
    """Text."""

    text: str


class ImageBlock(Struct, tag_field="type", tag="image"):
    """An image."""

    source: Any


class TextSource(Struct, tag_field="type", tag="text"):
    """A document's text."""

    data: str


class ContentSource(Struct, tag_field="type", tag="content"):
    """A document in blocks."""

    content: str | list[TextBlock | ImageBlock]


class Base64Source(Struct, tag_field="type", tag="base64"):
    """A file's bytes."""

    media_type: str


class UrlSource(Struct, tag_field="type", tag="url"):
    """A file elsewhere."""


class FileSource(Struct, tag_field="type", tag="file"):
    """A file that was sent before."""


class DocumentBlock(Struct, tag_field="type", tag="document"):
    """A document."""

    source: TextSource | ContentSource | Base64Source | UrlSource | FileSource
    title: str | None = None
    context: str | None = None


class FoundText(Struct):
    """Text of a search result, the one kind of block there; msgspec demands no tag of one kind."""

    type: Literal["text"]
    text: str


class SearchResultBlock(Struct, tag_field="type", tag="search_result"):
    """Something that the client found."""

    content: list[FoundText]
    source: str
    title: str


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """What a model thought."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Struct, tag_field="type", tag="redacted_thinking"):
    """What a model thought, in a form that only its own server can read."""

    data: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """A call that a model made."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(Struct, tag_field="type", tag="tool_result"):
    """What a called tool returned."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock] = ""
    is_error: bool | None = None


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
)
Content = str | list[Block]
_Role = Literal["system", "user", "assistant"]


class Turns:
    """Chat messages while they are made of blocks; turns of the same role become one."""

    def __init__(self, system: Content | None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._calls: set[str] = set()
        if system:
            self.system(system, "system")

    def system(self, content: Content, path: str) -> None:
        """Add instructions."""
        self._add("system", _texts(_blocks(content), path))

    def user(self, content: Content, path: str) -> None:
        """Add what the user says; results of tools come before the rest.

        Raises:
            InvalidRequest: A result belongs to no call, or a block cannot stand there.
        """
        blocks = _blocks(content)
        rest: list[Block] = []
        for index, block in enumerate(blocks):
            if not isinstance(block, ToolResultBlock):
                rest.append(block)
                continue
            if block.tool_use_id not in self._calls:
                raise InvalidRequest(
                    f"There is no tool_use with the id {block.tool_use_id[:200]!r} before this "
                    "tool_result.",
                    param=f"{path}[{index}].tool_use_id",
                    code="unknown_tool_use_id",
                )
            text = _texts(_blocks(block.content), f"{path}[{index}].content")
            self.messages.append(
                {
                    "role": "tool",
                    "tool_call_id": block.tool_use_id,
                    "content": f"Error: {text}" if block.is_error else text,
                }
            )
        if rest or not blocks:
            self._add("user", _texts(rest, path))

    def assistant(self, content: Content, path: str) -> None:
        """Add what a model answered.

        Raises:
            InvalidRequest: A block cannot stand there.
        """
        texts: list[Block] = []
        reasoning, calls = [], []
        for block in _blocks(content):
            match block:
                case ThinkingBlock():
                    reasoning.append(block.thinking or unseal(block.signature) or "")
                case RedactedThinkingBlock():
                    # Another server's thoughts are closed to this model.
                    continue
                case ToolUseBlock():
                    self._calls.add(block.id)
                    arguments = msgspec.json.encode(block.input).decode()
                    function = {"name": block.name, "arguments": arguments}
                    calls.append({"id": block.id, "type": "function", "function": function})
                case _:
                    texts.append(block)
        message = self._add("assistant", _texts(texts, path))
        if thought := "".join(reasoning):
            message["reasoning_content"] = message.get("reasoning_content", "") + thought
        if calls:
            message.setdefault("tool_calls", []).extend(calls)
            message["content"] = message["content"] or None

    def _add(self, role: _Role, text: str) -> dict[str, Any]:
        if self.messages and self.messages[-1]["role"] == role:
            last = self.messages[-1]
            last["content"] = "\n".join(part for part in (last["content"], text) if part)
            return last
        message = {"role": role, "content": text}
        self.messages.append(message)
        return message


def _blocks(content: Any) -> list[Block]:
    return [TextBlock(content)] if isinstance(content, str) else content


def _texts(blocks: list[Block], path: str) -> str:
    return "\n".join(_text(block, f"{path}[{index}]") for index, block in enumerate(blocks))


def _text(block: Block, path: str) -> str:
    match block:
        case TextBlock():
            return block.text
        case SearchResultBlock():
            found = [part.text for part in block.content]
            return "\n".join([f"{block.title} ({block.source})", *found])
        case DocumentBlock(source=TextSource(data=data)):
            return _titled(block, data)
        case DocumentBlock(source=ContentSource(content=content)):
            return _titled(block, _texts(_blocks(content), f"{path}.source.content"))
        case ImageBlock() | DocumentBlock():
            raise InvalidRequest(
                f"'{path}' is an image or a file, which this model cannot read: send text.",
                param=path,
                code="unsupported_content",
            )
    kind = block.__struct_config__.tag
    raise InvalidRequest(f"'{path}' is a '{kind}' block, which cannot stand there.", param=path)


def _titled(document: DocumentBlock, text: str) -> str:
    return "\n".join(part for part in (document.title, document.context, text) if part)
