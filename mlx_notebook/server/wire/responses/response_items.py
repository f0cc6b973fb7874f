"""The input items of a response.

Format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.protocol import EncodedImage
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import (
    AudioFormat,
    CheckedImage,
    FramesPerSecond,
    FrameUrls,
    MaxFrames,
    PagesAs,
    RequestedDetail,
)
from mlx_notebook.server.wire.decode import converted
from mlx_notebook.server.wire.parameters.parameters import unknown_in_list
from mlx_notebook.server.wire.responses.mcp_items import (
    APPROVAL_PREFIX,
    ApprovalRequestItem,
    ApprovalResponseItem,
    McpCallItem,
    McpListToolsItem,
)
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
    """A PDF, in a user message or a function's output: a data URI, base64, a URL or a file's id.

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

    video_url: str | FrameUrls | None = None
    file_id: str | None = None
    fps: FramesPerSecond | None = None
    max_frames: MaxFrames | None = None


class AudioInput(Struct):
    """A file of sound in base64."""

    data: str
    format: AudioFormat


class InputAudio(Struct, tag_field="type", tag="input_audio"):
    """A sound, in a user message or a function's output, for a model that hears."""

    input_audio: AudioInput


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


def unknown_in_parts(item: ItemDict, typed: InputItem, path: str) -> Iterator[str]:
    """Yield the fields in the content of an item that this server does not know.

    `typed` is the item as `typed_item` returns it.
    """
    for name in ("content", "output", "summary"):
        parts = getattr(typed, name, None)
        if isinstance(parts, list):
            yield from unknown_in_list(item[name], parts, f"{path}.{name}")


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


def item_not_found(id: str, path: str) -> InvalidRequest:
    """Return the error for a reference to an item that this user does not have."""
    return InvalidRequest(
        f"There is no stored item {id[:200]!r}.", param=f"{path}.id", code="item_not_found"
    )
