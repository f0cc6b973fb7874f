"""Convert content blocks of Anthropic's API to chat messages."""

from typing import Any, Literal

import msgspec

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.anthropic.content_blocks import (
    Base64DocumentSource,
    Base64ImageSource,
    Base64VideoSource,
    BlocksDocumentSource,
    ContentBlockParam,
    DocumentBlockParam,
    FileDocumentSource,
    FileImageSource,
    FileVideoSource,
    ImageBlockParam,
    MessageParamContent,
    RedactedThinkingBlockParam,
    SearchResultBlockParam,
    TextBlockParam,
    TextDocumentSource,
    ThinkingBlockParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
    UrlDocumentSource,
    UrlImageSource,
    UrlVideoSource,
    VideoBlockParam,
)
from mlx_notebook.server.wire.content import (
    ContentPiece,
    DocumentSource,
    FileReference,
    ImageSource,
    ModelContent,
    VideoSource,
    content_of,
    pieces_of,
    text_of,
)
from mlx_notebook.server.wire.conversation import marked_system_text
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter
from mlx_notebook.server.wire.sealed_reasoning import unseal

_BILLING = "x-anthropic-billing-header"
_Role = Literal["system", "user", "assistant"]


class BlockMessageBuilder:
    """Builds chat messages from content blocks. Adjacent messages of one role are merged."""

    def __init__(self, system: MessageParamContent | None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._calls: set[str] = set()
        if system:
            self.system(system, "system")

    def system(self, content: MessageParamContent, path: str) -> None:
        """Add a system message, without blocks for Anthropic's bills.

        Chat templates take one at the beginning only. A later one stays where it is, as a marked
        part of a user message. At the beginning it would change the prompt from there on, and
        agents add one in the middle of a session.
        """
        pieces = [piece for piece in _pieces(_blocks(content), path) if not _is_for_bills(piece)]
        if not pieces:
            return
        text = text_of(pieces, "system")
        if all(message["role"] == "system" for message in self.messages):
            self._add("system", text)
        else:
            self._add("user", marked_system_text(text))

    def user(self, content: MessageParamContent, path: str) -> None:
        """Add a user message. Its tool results come before its other blocks.

        Raises
        ------
        InvalidRequest
            A result matches no call, or a block is not supported there.
        """
        blocks = _blocks(content)
        rest: list[ContentPiece] = []
        results: list[dict[str, Any]] = []
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
            results.append(
                {
                    "role": "tool",
                    "tool_call_id": block.tool_use_id,
                    "content": content_of(pieces),
                }
            )
        # A system message between a call and its result comes after the result.
        end = len(self.messages)
        at = end - 1 if end and self.messages[-1]["role"] == "user" else end
        self.messages[at:at] = results
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


def billing_blocks(content: MessageParamContent | None, path: str) -> list[str]:
    """Return the places and the mark of the blocks that only Anthropic's bills need.

    Claude Code begins its system prompt with one. It differs from session to session, so no session
    could use the cached prompt of another.
    """
    blocks = content if isinstance(content, list) else []
    return [
        f"{path}[{index}]:{_BILLING}"
        for index, block in enumerate(blocks)
        if isinstance(block, TextBlockParam) and _is_for_bills(block.text)
    ]


def _is_for_bills(piece: ContentPiece) -> bool:
    return isinstance(piece, str) and piece.startswith(f"{_BILLING}:")


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
