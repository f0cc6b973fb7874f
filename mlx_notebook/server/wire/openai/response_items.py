"""The items that go into a response, and the chat messages that they become.

Format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input.
"""

import base64
import re
from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.protocol import EncodedImage
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import (
    CheckedImage,
    ContentPiece,
    ImageSource,
    RequestedDetail,
    content_of,
    text_of,
)
from mlx_notebook.server.wire.decode import converted
from mlx_notebook.server.wire.sealed_reasoning import unseal

ItemDict = dict[str, Any]


class InputText(Struct, tag_field="type", tag="input_text"):
    """Text from the user or the developer."""

    text: str


class AssistantText(Struct, tag_field="type", tag="output_text"):
    """Text from a model."""

    text: str


class AssistantRefusal(Struct, tag_field="type", tag="refusal"):
    """What a model refused."""

    refusal: str


class InputImage(Struct, tag_field="type", tag="input_image"):
    """An image, in a message of the user's or in a function's output."""

    image_url: str | None = None
    file_id: str | None = None
    detail: RequestedDetail | None = None


class InputFile(Struct, tag_field="type", tag="input_file"):
    """A file."""


class InputAudio(Struct, tag_field="type", tag="input_audio"):
    """Sound."""


ItemPart = InputText | AssistantText | AssistantRefusal | InputImage | InputFile | InputAudio
ItemContent = str | list[ItemPart]


class MessageItem(Struct, tag_field="type", tag="message"):
    """Something that was said."""

    role: Literal["user", "assistant", "system", "developer"]
    content: ItemContent


class FunctionCallItem(Struct, tag_field="type", tag="function_call"):
    """A call that a model made."""

    call_id: str
    name: str
    arguments: str


class FunctionCallOutputItem(Struct, tag_field="type", tag="function_call_output"):
    """What a called function returned."""

    call_id: str
    output: ItemContent


class ReasoningItemText(Struct):
    """A part of a model's thinking, or of its summary."""

    text: str


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    """What a model thought before it answered."""

    summary: list[ReasoningItemText] = []
    content: list[ReasoningItemText] | None = None
    encrypted_content: str | None = None

    @property
    def text(self) -> str:
        """All of it: as it was written, unsealed, or what its summary says."""
        if self.content:
            return "".join(part.text for part in self.content)
        sealed = unseal(self.encrypted_content) if self.encrypted_content else None
        return sealed or "\n".join(part.text for part in self.summary)


class ItemReference(Struct, tag_field="type", tag="item_reference"):
    """An item that is stored here already."""

    id: str


InputItem = MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningItem | ItemReference


def typed_item(item: ItemDict, path: str) -> InputItem:
    """Return an item as one of the types above.

    Raises:
        InvalidRequest: It is none of them.
    """
    return converted({**item, "type": _type(item)}, InputItem, path)  # type: ignore[arg-type]


def _type(item: ItemDict) -> Any:
    # "Easy" messages and references come without a type.
    easy = "item_reference" if "id" in item and "role" not in item else "message"
    return easy if item.get("type") is None else item["type"]


def with_image_data(items: list[ItemDict], pictures: list[EncodedImage]) -> list[ItemDict]:
    """Return a request's items with pictures from elsewhere as data URIs.

    So a stored conversation shows what the model saw, whatever becomes of the URL.
    """
    found = {picture.where: picture for picture in pictures}

    def inside(part: Any, where: str) -> Any:
        given = part.get("image_url") if isinstance(part, dict) else None
        picture = found.get(where)
        if given is None or not _ELSEWHERE.match(given) or not isinstance(picture, CheckedImage):
            return part
        data = base64.b64encode(picture.data).decode()
        return {**part, "image_url": f"data:{picture.media_type};base64,{data}"}

    kept = []
    for index, item in enumerate(items):
        for name in ("content", "output"):
            if isinstance(parts := item.get(name), list):
                path = f"input[{index}].{name}"
                told = [inside(part, f"{path}[{at}].image_url") for at, part in enumerate(parts)]
                item = {**item, name: told}
        kept.append(item)
    return kept


_ELSEWHERE = re.compile(r"\s*(?:https?|file):", re.IGNORECASE)
ID_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "reasoning": "rs_",
}


def listed_item(item: ItemDict, new_id: Callable[[str], str]) -> ItemDict:
    """Return an item as `input_items` lists it: with an id, a type and a status.

    `new_id` makes an id that begins with a text.
    """
    kind = _type(item)
    listed = {**item, "id": item.get("id") or new_id(ID_PREFIXES[kind]), "type": kind}
    if kind == "reasoning":
        return {"summary": [], **listed}
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
    """Chat messages while they are made of items: one message for each turn of a model's."""

    def __init__(self, instructions: str | None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None
        self._calls: set[str] = set()
        if instructions:
            self.messages.append({"role": "system", "content": instructions})

    def add(self, item: InputItem, path: str) -> None:
        """Add an item; `path` is its place in the request.

        Raises:
            InvalidRequest: The item cannot stand there, or holds what the model cannot read.
        """
        match item:
            case MessageItem(role="assistant"):
                self._say(text_of(_pieces(item.content, f"{path}.content"), item.role))
            case MessageItem():
                self._turn = None
                pieces = _pieces(item.content, f"{path}.content")
                if item.role == "user":
                    self.messages.append({"role": "user", "content": content_of(pieces)})
                else:
                    text = text_of(pieces, item.role)
                    self.messages.append({"role": "system", "content": text})
            case ReasoningItem():
                self._think(item.text)
            case FunctionCallItem():
                self._call(item)
            case FunctionCallOutputItem():
                if item.call_id not in self._calls:
                    raise InvalidRequest(
                        f"There is no function call with the id {item.call_id[:200]!r} before "
                        "this output.",
                        param=f"{path}.call_id",
                        code="unknown_call_id",
                    )
                self._turn = None
                content = content_of(_pieces(item.output, f"{path}.output"))
                self.messages.append(
                    {"role": "tool", "tool_call_id": item.call_id, "content": content}
                )
            case ItemReference():
                raise InvalidRequest(
                    f"There is no stored item {item.id[:200]!r}.",
                    param=f"{path}.id",
                    code="item_not_found",
                )

    def _open(self) -> dict[str, Any]:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
            self.messages.append(self._turn)
        return self._turn

    def _say(self, text: str) -> None:
        if self._turn is not None and self._turn["content"] and "tool_calls" not in self._turn:
            self._turn = None
        turn = self._open()
        turn["content"] = (turn["content"] or "") + text

    def _think(self, text: str) -> None:
        if self._turn is not None and (self._turn["content"] or "tool_calls" in self._turn):
            self._turn = None
        if text:
            turn = self._open()
            turn["reasoning_content"] = turn.get("reasoning_content", "") + text

    def _call(self, item: FunctionCallItem) -> None:
        self._calls.add(item.call_id)
        function = {"name": item.name, "arguments": item.arguments or "{}"}
        call = {"id": item.call_id, "type": "function", "function": function}
        self._open().setdefault("tool_calls", []).append(call)


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
                pieces.append(_picture(part, f"{path}[{index}]"))
            case _:
                kind = part.__struct_config__.tag
                raise InvalidRequest(
                    f"'{kind}' parts are not supported by this server: send text or pictures.",
                    param=f"{path}[{index}]",
                    code="unsupported_content",
                )
    return pieces


def _picture(image: InputImage, path: str) -> ImageSource:
    if image.file_id is not None:
        raise InvalidRequest(
            f"'{path}.file_id' is not supported: this server keeps no files. Send the picture "
            "as 'image_url', a data URI.",
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
