"""Content blocks of Anthropic's API (see `block_messages` for what becomes of them).

Format: https://docs.anthropic.com/en/api/messages#body-messages.
"""

from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.server.wire.content import FramesPerSecond, MaxFrames, PagesAs


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
