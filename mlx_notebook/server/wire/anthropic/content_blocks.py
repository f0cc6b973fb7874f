"""Anthropic's content blocks, and the chat messages that they become.

Format: https://docs.anthropic.com/en/api/messages#body-messages.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import (
    ContentPiece,
    ImageSource,
    ModelContent,
    content_of,
    pieces_of,
    text_of,
)
from mlx_notebook.server.wire.parameters import unsupported_parameter
from mlx_notebook.server.wire.sealed_reasoning import unseal


class TextBlockParam(Struct, tag_field="type", tag="text"):
    """Text."""

    text: str


class Base64ImageSource(Struct, tag_field="type", tag="base64"):
    """An image's bytes in base64."""

    data: str
    media_type: str


class UrlImageSource(Struct, tag_field="type", tag="url"):
    """Where an image is: a URL that the server's settings allow."""

    url: str


class FileImageSource(Struct, tag_field="type", tag="file"):
    """An image that was sent before."""

    file_id: str


class ImageTransformations(Struct):
    """What may be done to an image; here a large one is always scaled down."""

    oversized_image: Literal["downsize", "error"] | None = None


class ImageBlockParam(Struct, tag_field="type", tag="image"):
    """An image, from the user or in a tool's result."""

    source: Base64ImageSource | UrlImageSource | FileImageSource
    transformations: ImageTransformations | None = None


class TextDocumentSource(Struct, tag_field="type", tag="text"):
    """A document's text."""

    data: str


class BlocksDocumentSource(Struct, tag_field="type", tag="content"):
    """A document in blocks."""

    content: str | list[TextBlockParam | ImageBlockParam]


class Base64DocumentSource(Struct, tag_field="type", tag="base64"):
    """A file's bytes."""

    media_type: str


class UrlDocumentSource(Struct, tag_field="type", tag="url"):
    """A file elsewhere."""


class FileDocumentSource(Struct, tag_field="type", tag="file"):
    """A file that was sent before."""


class Citations(Struct):
    """Whether the answer is to cite a document, which it cannot here."""

    enabled: bool | None = None


class DocumentBlockParam(Struct, tag_field="type", tag="document"):
    """A document."""

    source: (
        TextDocumentSource
        | BlocksDocumentSource
        | Base64DocumentSource
        | UrlDocumentSource
        | FileDocumentSource
    )
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None


class SearchResultText(Struct):
    """Text of a search result, the one kind of block there; msgspec demands no tag of one kind."""

    type: Literal["text"]
    text: str


class SearchResultBlockParam(Struct, tag_field="type", tag="search_result"):
    """Something that the client found."""

    content: list[SearchResultText]
    source: str
    title: str
    citations: Citations | None = None


class ThinkingBlockParam(Struct, tag_field="type", tag="thinking"):
    """What a model thought."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlockParam(Struct, tag_field="type", tag="redacted_thinking"):
    """What a model thought, in a form that only its own server can read."""

    data: str


class ToolUseBlockParam(Struct, tag_field="type", tag="tool_use"):
    """A call that a model made."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlockParam(Struct, tag_field="type", tag="tool_result"):
    """What a called tool returned."""

    tool_use_id: str
    content: (
        str | list[TextBlockParam | ImageBlockParam | DocumentBlockParam | SearchResultBlockParam]
    ) = ""
    is_error: bool | None = None


ContentBlockParam = (
    TextBlockParam
    | ImageBlockParam
    | DocumentBlockParam
    | SearchResultBlockParam
    | ThinkingBlockParam
    | RedactedThinkingBlockParam
    | ToolUseBlockParam
    | ToolResultBlockParam
)
MessageParamContent = str | list[ContentBlockParam]
_Role = Literal["system", "user", "assistant"]


class BlockMessageBuilder:
    """Chat messages while they are made of blocks; turns of the same role become one."""

    def __init__(self, system: MessageParamContent | None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._calls: set[str] = set()
        if system:
            self.system(system, "system")

    def system(self, content: MessageParamContent, path: str) -> None:
        """Add instructions."""
        self._add("system", text_of(_pieces(_blocks(content), path), "system"))

    def user(self, content: MessageParamContent, path: str) -> None:
        """Add what the user says; results of tools come before the rest.

        Raises:
            InvalidRequest: A result belongs to no call, or a block cannot stand there.
        """
        blocks = _blocks(content)
        rest: list[ContentPiece] = []
        for index, block in enumerate(blocks):
            if not isinstance(block, ToolResultBlockParam):
                rest += _shown(block, f"{path}[{index}]")
                continue
            if block.tool_use_id not in self._calls:
                raise InvalidRequest(
                    f"There is no tool_use with the id {block.tool_use_id[:200]!r} before this "
                    "tool_result.",
                    param=f"{path}[{index}].tool_use_id",
                    code="unknown_tool_use_id",
                )
            pieces = _pieces(_blocks(block.content), f"{path}[{index}].content")
            if block.is_error:
                said = isinstance(pieces[0], str) if pieces else False
                pieces = [f"Error: {pieces[0] if said else ''}", *pieces[said:]]
            self.messages.append(
                {
                    "role": "tool",
                    "tool_call_id": block.tool_use_id,
                    "content": content_of(pieces),
                }
            )
        if rest or not blocks:
            self._add("user", content_of(rest))

    def assistant(self, content: MessageParamContent, path: str) -> None:
        """Add what a model answered.

        Raises:
            InvalidRequest: A block cannot stand there.
        """
        texts: list[ContentPiece] = []
        reasoning, calls = [], []
        for index, block in enumerate(_blocks(content)):
            match block:
                case ThinkingBlockParam():
                    reasoning.append(block.thinking or unseal(block.signature) or "")
                case RedactedThinkingBlockParam():
                    # Another server's thoughts are closed to this model.
                    continue
                case ToolUseBlockParam():
                    self._calls.add(block.id)
                    arguments = msgspec.json.encode(block.input).decode()
                    function = {"name": block.name, "arguments": arguments}
                    calls.append({"id": block.id, "type": "function", "function": function})
                case _:
                    texts += _shown(block, f"{path}[{index}]")
        message = self._add("assistant", text_of(texts, "assistant"))
        if thought := "".join(reasoning):
            message["reasoning_content"] = message.get("reasoning_content", "") + thought
        if calls:
            message.setdefault("tool_calls", []).extend(calls)
            message["content"] = message["content"] or None

    def _add(self, role: _Role, content: ModelContent) -> dict[str, Any]:
        if self.messages and self.messages[-1]["role"] == role:
            last = self.messages[-1]
            last["content"] = content_of([*pieces_of(last["content"] or ""), *pieces_of(content)])
            return last
        message: dict[str, Any] = {"role": role, "content": content}
        self.messages.append(message)
        return message


def _blocks(content: Any) -> list[ContentBlockParam]:
    return [TextBlockParam(content)] if isinstance(content, str) else content


def _pieces(blocks: list[ContentBlockParam], path: str) -> list[ContentPiece]:
    return [
        piece for index, block in enumerate(blocks) for piece in _shown(block, f"{path}[{index}]")
    ]


def _shown(block: ContentBlockParam, path: str) -> list[ContentPiece]:
    citations = getattr(block, "citations", None)
    if citations is not None and citations.enabled:
        raise unsupported_parameter(f"{path}.citations")
    match block:
        case TextBlockParam():
            return [block.text]
        case ImageBlockParam():
            return [_picture(block, path)]
        case SearchResultBlockParam():
            return [f"{block.title} ({block.source})", *(part.text for part in block.content)]
        case DocumentBlockParam(source=TextDocumentSource(data=data)):
            return [*_heading(block), data]
        case DocumentBlockParam(source=BlocksDocumentSource(content=content)):
            return [*_heading(block), *_pieces(_blocks(content), f"{path}.source.content")]
        case DocumentBlockParam():
            raise InvalidRequest(
                f"'{path}' is a file, which this server cannot read: send text or pictures.",
                param=path,
                code="unsupported_content",
            )
    kind = block.__struct_config__.tag
    raise InvalidRequest(f"'{path}' is a '{kind}' block, which cannot stand there.", param=path)


def _heading(document: DocumentBlockParam) -> list[ContentPiece]:
    return [part for part in (document.title, document.context) if part]


def _picture(block: ImageBlockParam, path: str) -> ImageSource:
    if block.transformations is not None and block.transformations.oversized_image == "error":
        raise InvalidRequest(
            f"'{path}.transformations.oversized_image' cannot be 'error' on this server: leave "
            "it out.",
            param=f"{path}.transformations.oversized_image",
            code="unsupported_parameter",
        )
    match block.source:
        case Base64ImageSource(data=data, media_type=kind):
            return ImageSource(f"data:{kind};base64,{data}", f"{path}.source")
        case UrlImageSource(url=url):
            return ImageSource(url, f"{path}.source")
        case FileImageSource():
            raise InvalidRequest(
                f"'{path}.source' names a file: this server keeps none. Send the picture in "
                "base64.",
                param=f"{path}.source",
                code="unsupported_content",
            )
