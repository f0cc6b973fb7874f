"""Content blocks of Anthropic's API, and their conversion to chat messages.

Format: https://docs.anthropic.com/en/api/messages#body-messages.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import (
    ContentPiece,
    DocumentSource,
    FileReference,
    FramesPerSecond,
    ImageSource,
    MaxFrames,
    ModelContent,
    PagesAs,
    VideoSource,
    content_of,
    pieces_of,
    text_of,
)
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter
from mlx_notebook.server.wire.sealed_reasoning import unseal


class TextBlockParam(Struct, tag_field="type", tag="text"):
    """A text block."""

    text: str


class Base64ImageSource(Struct, tag_field="type", tag="base64"):
    """An image's bytes in base64."""

    data: str
    media_type: str


class UrlImageSource(Struct, tag_field="type", tag="url"):
    """The URL of an image, which the server's settings must allow."""

    url: str


class FileImageSource(Struct, tag_field="type", tag="file"):
    """An image that the user has uploaded to `v1/files`."""

    file_id: str


class ImageTransformations(Struct):
    """How to handle an image. This server always scales a large one down."""

    oversized_image: Literal["downsize", "error"] | None = None


class ImageBlockParam(Struct, tag_field="type", tag="image"):
    """An image, in a user message or a tool result."""

    source: Base64ImageSource | UrlImageSource | FileImageSource
    transformations: ImageTransformations | None = None


class TextDocumentSource(Struct, tag_field="type", tag="text"):
    """A document as text."""

    data: str


class BlocksDocumentSource(Struct, tag_field="type", tag="content"):
    """A document as content blocks."""

    content: str | list[TextBlockParam | ImageBlockParam]


class Base64DocumentSource(Struct, tag_field="type", tag="base64"):
    """A PDF in base64."""

    data: str
    media_type: str


class UrlDocumentSource(Struct, tag_field="type", tag="url"):
    """The URL of a PDF, which the server's settings must allow."""

    url: str


class FileDocumentSource(Struct, tag_field="type", tag="file"):
    """A PDF or a text that the user has uploaded to `v1/files`."""

    file_id: str


class Base64VideoSource(Struct, tag_field="type", tag="base64"):
    """A video's bytes in base64."""

    data: str
    media_type: str


class UrlVideoSource(Struct, tag_field="type", tag="url"):
    """The URL of a video, which the server's settings must allow."""

    url: str


class FileVideoSource(Struct, tag_field="type", tag="file"):
    """A video that the user has uploaded to `v1/files`."""

    file_id: str


class Citations(Struct):
    """Whether the answer should cite a document, which this server does not support."""

    enabled: bool | None = None


class DocumentBlockParam(Struct, tag_field="type", tag="document"):
    """A document, in a user message or a tool result.

    For a PDF `pages` chooses pages, for example "1-3,7". With `pages_as: text` the model gets their
    text.
    """

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
    pages: str | None = None
    pages_as: PagesAs | None = None


class VideoBlockParam(Struct, tag_field="type", tag="video"):
    """A video, in a user message or a tool result. Anthropic's API has none."""

    source: Base64VideoSource | UrlVideoSource | FileVideoSource
    fps: FramesPerSecond | None = None
    max_frames: MaxFrames | None = None


class SearchResultText(Struct):
    """Text of a search result. `type` is a field because msgspec checks no tag outside a union."""

    type: Literal["text"]
    text: str


class SearchResultBlockParam(Struct, tag_field="type", tag="search_result"):
    """A search result that the client provides."""

    content: list[SearchResultText]
    source: str
    title: str
    citations: Citations | None = None


class ThinkingBlockParam(Struct, tag_field="type", tag="thinking"):
    """The reasoning of an earlier turn."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlockParam(Struct, tag_field="type", tag="redacted_thinking"):
    """The reasoning of an earlier turn, in a form that only the server that wrote it can read."""

    data: str


class ToolUseBlockParam(Struct, tag_field="type", tag="tool_use"):
    """A tool call of an earlier turn."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlockParam(Struct, tag_field="type", tag="tool_result"):
    """The result of a tool call."""

    tool_use_id: str
    content: (
        str
        | list[
            TextBlockParam
            | ImageBlockParam
            | DocumentBlockParam
            | VideoBlockParam
            | SearchResultBlockParam
        ]
    ) = ""
    is_error: bool | None = None


ContentBlockParam = (
    TextBlockParam
    | ImageBlockParam
    | DocumentBlockParam
    | VideoBlockParam
    | SearchResultBlockParam
    | ThinkingBlockParam
    | RedactedThinkingBlockParam
    | ToolUseBlockParam
    | ToolResultBlockParam
)
MessageParamContent = str | list[ContentBlockParam]
_Role = Literal["system", "user", "assistant"]


class BlockMessageBuilder:
    """Builds chat messages from content blocks. Adjacent messages of one role are merged."""

    def __init__(self, system: MessageParamContent | None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._calls: set[str] = set()
        if system:
            self.system(system, "system")

    def system(self, content: MessageParamContent, path: str) -> None:
        """Add a system message."""
        self._add("system", text_of(_pieces(_blocks(content), path), "system"))

    def user(self, content: MessageParamContent, path: str) -> None:
        """Add a user message. Its tool results come before its other blocks.

        Raises
        ------
        InvalidRequest
            A result matches no call, or a block is not supported there.
        """
        blocks = _blocks(content)
        rest: list[ContentPiece] = []
        for index, block in enumerate(blocks):
            if not isinstance(block, ToolResultBlockParam):
                rest += _block_pieces(block, f"{path}[{index}]")
                continue
            if block.tool_use_id not in self._calls:
                raise InvalidRequest(
                    f"No tool_use before this tool_result has the id {block.tool_use_id[:200]!r}.",
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
        """Add an assistant message.

        Raises
        ------
        InvalidRequest
            A block is not supported there.
        """
        texts: list[ContentPiece] = []
        reasoning, calls = [], []
        for index, block in enumerate(_blocks(content)):
            match block:
                case ThinkingBlockParam():
                    reasoning.append(block.thinking or unseal(block.signature) or "")
                case RedactedThinkingBlockParam():
                    # Another server wrote it, so it cannot be read here.
                    continue
                case ToolUseBlockParam():
                    self._calls.add(block.id)
                    arguments = msgspec.json.encode(block.input).decode()
                    function = {"name": block.name, "arguments": arguments}
                    calls.append({"id": block.id, "type": "function", "function": function})
                case _:
                    texts += _block_pieces(block, f"{path}[{index}]")
        message = self._add("assistant", text_of(texts, "assistant"))
        if reasoning_text := "".join(reasoning):
            message["reasoning_content"] = message.get("reasoning_content", "") + reasoning_text
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
        piece
        for index, block in enumerate(blocks)
        for piece in _block_pieces(block, f"{path}[{index}]")
    ]


def _block_pieces(block: ContentBlockParam, path: str) -> list[ContentPiece]:
    citations = getattr(block, "citations", None)
    if citations is not None and citations.enabled:
        raise unsupported_parameter(f"{path}.citations")
    match block:
        case TextBlockParam():
            return [block.text]
        case ImageBlockParam():
            return [_image(block, path)]
        case SearchResultBlockParam():
            return [f"{block.title} ({block.source})", *(part.text for part in block.content)]
        case DocumentBlockParam(source=TextDocumentSource(data=data)):
            _check_no_pages(block, path)
            return [*_heading(block), data]
        case DocumentBlockParam(source=BlocksDocumentSource(content=content)):
            _check_no_pages(block, path)
            return [*_heading(block), *_pieces(_blocks(content), f"{path}.source.content")]
        case DocumentBlockParam():
            return [_document(block, path)]
        case VideoBlockParam(source=Base64VideoSource(data=data, media_type=kind)):
            given = f"data:{kind};base64,{data}"
            return [VideoSource.of(given, path, "source", block.fps, block.max_frames)]
        case VideoBlockParam(source=UrlVideoSource(url=url)):
            return [VideoSource.of(url, path, "source", block.fps, block.max_frames)]
        case VideoBlockParam(source=FileVideoSource(file_id=id)):
            file = FileReference(id, f"{path}.source.file_id")
            return [VideoSource.of(file, path, "source", block.fps, block.max_frames)]
    tag = block.__struct_config__.tag
    raise InvalidRequest(f"'{path}' is a '{tag}' block, which is not allowed there.", param=path)


def _heading(document: DocumentBlockParam) -> tuple[str, ...]:
    return tuple(part for part in (document.title, document.context) if part)


def _check_no_pages(document: DocumentBlockParam, path: str) -> None:
    for name in ("pages", "pages_as"):
        if getattr(document, name) is not None:
            raise unsupported_parameter(f"{path}.{name}", "only a PDF has pages")


def _document(block: DocumentBlockParam, path: str) -> DocumentSource:
    given: str | FileReference
    match block.source:
        case Base64DocumentSource(data=data, media_type=kind):
            if kind != "application/pdf":
                raise InvalidRequest(
                    f"'{path}.source.media_type' is {kind[:100]!r}: this server reads PDFs, "
                    "'application/pdf'. Send other text as a source of the type 'text'.",
                    param=f"{path}.source.media_type",
                    code="unsupported_content",
                )
            given = f"data:{kind};base64,{data}"
        case UrlDocumentSource(url=url):
            given = url
        case FileDocumentSource(file_id=id):
            given = FileReference(id, f"{path}.source.file_id")
        case _:
            raise AssertionError(f"{block.source} is handled before")
    return DocumentSource(
        given,
        path,
        f"{path}.source",
        _heading(block),
        block.pages,
        block.pages_as,
        may_be_text=isinstance(given, FileReference),
    )


def _image(block: ImageBlockParam, path: str) -> ImageSource:
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
        case FileImageSource(file_id=id):
            return ImageSource(FileReference(id, f"{path}.source.file_id"), f"{path}.source")
