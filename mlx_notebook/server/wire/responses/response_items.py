"""The input items of a response, and their conversion to chat messages.

Format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.protocol import EncodedImage
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import (
    CheckedImage,
    ContentPiece,
    DocumentSource,
    FramesPerSecond,
    FrameUrls,
    ImageSource,
    MaxFrames,
    PagesAs,
    RequestedDetail,
    VideoSource,
    content_of,
    no_file_data,
    text_of,
)
from mlx_notebook.server.wire.decode import converted
from mlx_notebook.server.wire.responses.mcp_items import (
    APPROVAL_PREFIX,
    ApprovalRequestItem,
    ApprovalResponseItem,
    McpCallItem,
    McpListToolsItem,
)
from mlx_notebook.server.wire.responses.response_tools import qualified
from mlx_notebook.server.wire.sealed_reasoning import unseal

ItemDict = dict[str, Any]


class InputText(Struct, tag_field="type", tag="input_text"):
    """Text from a user, system or developer message."""

    text: str


class AssistantText(Struct, tag_field="type", tag="output_text"):
    """Text from an assistant message."""

    text: str


class AssistantRefusal(Struct, tag_field="type", tag="refusal"):
    """A refusal in an assistant message."""

    refusal: str


class InputImage(Struct, tag_field="type", tag="input_image"):
    """An image, in a user message or a function's output."""

    image_url: str | None = None
    file_id: str | None = None
    detail: RequestedDetail | None = None


class InputFile(Struct, tag_field="type", tag="input_file"):
    """A PDF, in a user message or a function's output: a data URI, base64 or a URL.

    `pages` chooses pages, for example "1-3,7". With `pages_as: text` the model gets their text.
    """

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    pages: str | None = None
    pages_as: PagesAs | None = None


class InputVideo(Struct, tag_field="type", tag="input_video"):
    """A video, or a list of its frames, in a user message or a function's output."""

    video_url: str | FrameUrls
    fps: FramesPerSecond | None = None
    max_frames: MaxFrames | None = None


class InputAudio(Struct, tag_field="type", tag="input_audio"):
    """An audio part, which this server does not support."""


ItemPart = (
    InputText | AssistantText | AssistantRefusal | InputImage | InputFile | InputVideo | InputAudio
)
ItemContent = str | list[ItemPart]


class MessageItem(Struct, tag_field="type", tag="message"):
    """A message."""

    role: Literal["user", "assistant", "system", "developer"]
    content: ItemContent


class FunctionCallItem(Struct, tag_field="type", tag="function_call"):
    """A function call of the model."""

    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class FunctionCallOutputItem(Struct, tag_field="type", tag="function_call_output"):
    """The result of a function call."""

    call_id: str
    output: ItemContent


class ReasoningItemText(Struct):
    """A part of the reasoning, or of its summary."""

    text: str


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    """The reasoning of an earlier turn."""

    summary: list[ReasoningItemText] = []
    content: list[ReasoningItemText] | None = None
    encrypted_content: str | None = None

    @property
    def text(self) -> str:
        """The reasoning: its content, else its encrypted content, else its summary."""
        if self.content:
            return "".join(part.text for part in self.content)
        sealed = unseal(self.encrypted_content) if self.encrypted_content else None
        return sealed or "\n".join(part.text for part in self.summary)


class ItemReference(Struct, tag_field="type", tag="item_reference"):
    """A reference to a stored item, which this server does not support."""

    id: str


class CompactionItem(Struct, tag_field="type", tag="compaction"):
    """A summary that stands for what the model has said and done before."""

    encrypted_content: str


InputItem = (
    MessageItem
    | FunctionCallItem
    | FunctionCallOutputItem
    | ReasoningItem
    | CompactionItem
    | McpListToolsItem
    | McpCallItem
    | ApprovalRequestItem
    | ApprovalResponseItem
    | ItemReference
)


def typed_item(item: ItemDict, path: str) -> InputItem:
    """Return an item as one of the types above.

    Raises
    ------
    InvalidRequest
        The item fits none of them.
    """
    return converted({**item, "type": _type(item)}, InputItem, path)  # type: ignore[arg-type]


def _type(item: ItemDict) -> Any:
    # Clients may omit the type of messages and references.
    easy = "item_reference" if "id" in item and "role" not in item else "message"
    return easy if item.get("type") is None else item["type"]


def with_file_data(
    items: list[ItemDict], images: list[EncodedImage], documents: Mapping[str, bytes]
) -> list[ItemDict]:
    """Return the items of a request with URLs of images and documents replaced by data URIs.

    A stored conversation then keeps what the model saw, even if a URL stops working.

    Parameters
    ----------
    items
        The items.
    images
        Images, each with the JSON path of its URL.
    documents
        PDFs by the JSON path of their URL.
    """
    found = {image.where: image for image in images}

    def inline(part: Any, where: str) -> Any:
        if (document := documents.get(f"{where}.file_url")) is not None:
            rest = {name: value for name, value in part.items() if name != "file_url"}
            return {**rest, "file_data": _data_uri("application/pdf", document)}
        given = part.get("image_url") if isinstance(part, dict) else None
        image = found.get(f"{where}.image_url")
        if given is None or not _EXTERNAL_URL.match(given) or not isinstance(image, CheckedImage):
            return part
        return {**part, "image_url": _data_uri(image.media_type, image.data)}

    kept = []
    for index, item in enumerate(items):
        for name in ("content", "output"):
            if isinstance(parts := item.get(name), list):
                path = f"input[{index}].{name}"
                parts = [inline(part, f"{path}[{at}]") for at, part in enumerate(parts)]
                item = {**item, name: parts}
        kept.append(item)
    return kept


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


_EXTERNAL_URL = re.compile(r"\s*(?:https?|file):", re.IGNORECASE)
ID_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "reasoning": "rs_",
    "compaction": "cmp_",
    "mcp_list_tools": "mcpl_",
    "mcp_call": "mcp_",
    "mcp_approval_request": APPROVAL_PREFIX,
    "mcp_approval_response": "mcpa_",
}
SUMMARY = "Summary of what I have said and done so far:"
"""How the message begins that stands for a compaction item."""


def listed_item(item: ItemDict, new_id: Callable[[str], str]) -> ItemDict:
    """Return an item in the form of `input_items`: with an id, a type and a status.

    `new_id` returns a new id with the given prefix.
    """
    kind = _type(item)
    listed = {**item, "id": item.get("id") or new_id(ID_PREFIXES[kind]), "type": kind}
    if kind == "reasoning":
        return {"summary": [], **listed}
    if kind == "compaction" or kind.startswith("mcp_"):
        return listed
    listed["status"] = item.get("status") or "completed"
    if kind == "message":
        said = item["role"] == "assistant"
        parts = item["content"]
        if isinstance(parts, str):
            parts = [{"type": "output_text" if said else "input_text", "text": parts}]
        extra: ItemDict = {"annotations": []} if said else {}
        listed["content"] = [{**extra, **part} for part in parts]
    return listed


class ItemMessageBuilder:
    """Builds chat messages from items. The items of one assistant turn become one message."""

    def __init__(self, instructions: str | None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None
        self._calls: set[str] = set()
        self._asked: dict[str, ApprovalRequestItem] = {}
        # Approved calls that have not been made, by the ids of their approval requests.
        self.approved: dict[str, ApprovalRequestItem] = {}
        if instructions:
            self.messages.append({"role": "system", "content": instructions})

    def add(self, item: InputItem, path: str) -> None:
        """Add an item. `path` is its JSON path in the request.

        Raises
        ------
        InvalidRequest
            The item has unsupported content, or refers to something that does not exist.
        """
        match item:
            case MessageItem(role="assistant"):
                self._add_text(text_of(_pieces(item.content, f"{path}.content"), item.role))
            case MessageItem():
                self._turn = None
                pieces = _pieces(item.content, f"{path}.content")
                if item.role == "user":
                    self.messages.append({"role": "user", "content": content_of(pieces)})
                else:
                    text = text_of(pieces, item.role)
                    self.messages.append({"role": "system", "content": text})
            case ReasoningItem():
                self._add_reasoning(item.text)
            case CompactionItem():
                self._add_summary(item, path)
            case FunctionCallItem():
                self._add_call(item)
            case FunctionCallOutputItem():
                if item.call_id not in self._calls:
                    raise InvalidRequest(
                        f"No function call before this output has the id {item.call_id[:200]!r}.",
                        param=f"{path}.call_id",
                        code="unknown_call_id",
                    )
                self._turn = None
                content = content_of(_pieces(item.output, f"{path}.output"))
                self.messages.append(
                    {"role": "tool", "tool_call_id": item.call_id, "content": content}
                )
            case ApprovalRequestItem():
                self._asked[item.id] = item
            case ApprovalResponseItem():
                self._add_decision(item, path)
            case McpCallItem():
                self.approved.pop(item.approval_request_id or "", None)
                self._add_mcp_call(item.id, item, item.result)
            case McpListToolsItem():
                pass  # The tools themselves are a part of the prompt.
            case ItemReference():
                raise item_not_found(item.id, path)

    def _current_turn(self) -> dict[str, Any]:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
            self.messages.append(self._turn)
        return self._turn

    def _add_text(self, text: str) -> None:
        if self._turn is not None and self._turn["content"] and "tool_calls" not in self._turn:
            self._turn = None
        turn = self._current_turn()
        turn["content"] = (turn["content"] or "") + text

    def _add_reasoning(self, text: str) -> None:
        if self._turn is not None and (self._turn["content"] or "tool_calls" in self._turn):
            self._turn = None
        if text:
            turn = self._current_turn()
            turn["reasoning_content"] = turn.get("reasoning_content", "") + text

    def _add_decision(self, item: ApprovalResponseItem, path: str) -> None:
        asked = self._asked.pop(item.approval_request_id, None)
        if asked is None:
            raise InvalidRequest(
                f"No approval request {item.approval_request_id[:200]!r} before this waits for an "
                "answer.",
                param=f"{path}.approval_request_id",
                code="unknown_approval_request",
            )
        if item.approve:
            self.approved[asked.id] = asked
            return
        reason = f" Reason: {item.reason}" if item.reason else ""
        self._add_mcp_call(asked.id, asked, f"The user did not approve this call.{reason}")

    def _add_mcp_call(self, id: str, item: McpCallItem | ApprovalRequestItem, result: str) -> None:
        """Add a call with its result. Each is a turn of its own."""
        self._add_call(FunctionCallItem(id, item.name, item.arguments, item.server_label))
        self.messages.append({"role": "tool", "tool_call_id": id, "content": result})
        self._turn = None

    def _add_summary(self, item: CompactionItem, path: str) -> None:
        summary = unseal(item.encrypted_content)
        if summary is None:
            raise InvalidRequest(
                "Only items that v1/responses/compact of mlx-notebook has made can be read. Send "
                "the conversation itself.",
                param=f"{path}.encrypted_content",
                code="unreadable_compaction",
            )
        # The model's own words, with no more authority than its other answers.
        self.messages.append({"role": "assistant", "content": f"{SUMMARY}\n\n{summary}"})
        self._turn = None

    def _add_call(self, item: FunctionCallItem) -> None:
        self._calls.add(item.call_id)
        name = qualified(item.name, item.namespace)
        function = {"name": name, "arguments": item.arguments or "{}"}
        call = {"id": item.call_id, "type": "function", "function": function}
        self._current_turn().setdefault("tool_calls", []).append(call)


def item_not_found(id: str, path: str) -> InvalidRequest:
    """Return the error for a reference to an item that this user does not have."""
    return InvalidRequest(
        f"There is no stored item {id[:200]!r}.", param=f"{path}.id", code="item_not_found"
    )


def _pieces(content: ItemContent, path: str) -> list[ContentPiece]:
    if isinstance(content, str):
        return [content]
    pieces: list[ContentPiece] = []
    for index, part in enumerate(content):
        match part:
            case InputText() | AssistantText():
                pieces.append(part.text)
            case AssistantRefusal():
                pieces.append(part.refusal)
            case InputImage():
                pieces.append(_image(part, f"{path}[{index}]"))
            case InputFile():
                pieces.append(_document(part, f"{path}[{index}]"))
            case InputVideo(video_url=given):
                where = f"{path}[{index}]"
                pieces.append(VideoSource.of(given, where, "video_url", part.fps, part.max_frames))
            case _:
                kind = part.__struct_config__.tag
                raise InvalidRequest(
                    f"'{kind}' parts are not supported by this server: send text or images.",
                    param=f"{path}[{index}]",
                    code="unsupported_content",
                )
    return pieces


def _image(image: InputImage, path: str) -> ImageSource:
    if image.file_id is not None:
        raise InvalidRequest(
            f"'{path}.file_id' is not supported: this server stores no files. Send the image as "
            "'image_url', a data URI.",
            param=f"{path}.file_id",
            code="unsupported_parameter",
        )
    if image.image_url is None:
        raise InvalidRequest(
            f"The request needs '{path}.image_url'.",
            param=f"{path}.image_url",
            code="missing_parameter",
        )
    return ImageSource.of(image.image_url, f"{path}.image_url", image.detail)


def _document(file: InputFile, path: str) -> DocumentSource:
    heading = (file.filename,) if file.filename else ()
    for name, given in (("file_data", file.file_data), ("file_url", file.file_url)):
        if given is not None:
            field = f"{path}.{name}"
            return DocumentSource(given, path, field, heading, file.pages, file.pages_as)
    raise no_file_data(file.file_id, path)
