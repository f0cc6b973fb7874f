"""Turn the input items of a response into chat messages."""

from typing import Any

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import (
    AudioSource,
    ContentPiece,
    DocumentSource,
    ImageSource,
    VideoSource,
    content_of,
    one_source,
    text_of,
)
from mlx_notebook.server.wire.responses.mcp_items import (
    ApprovalRequestItem,
    ApprovalResponseItem,
    McpCallItem,
    McpListToolsItem,
)
from mlx_notebook.server.wire.responses.response_items import (
    SUMMARY,
    AssistantRefusal,
    AssistantText,
    CompactionItem,
    FunctionCallItem,
    FunctionCallOutputItem,
    InputAudio,
    InputFile,
    InputImage,
    InputItem,
    InputText,
    InputVideo,
    ItemContent,
    ItemReference,
    MessageItem,
    ReasoningItem,
    item_not_found,
)
from mlx_notebook.server.wire.responses.response_tools import qualified
from mlx_notebook.server.wire.sealed_reasoning import unseal


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
            case InputVideo():
                where = f"{path}[{index}]"
                fields = {"video_url": part.video_url, "file_id": part.file_id}
                given, name = one_source(where, fields)
                pieces.append(VideoSource.of(given, where, name, part.fps, part.max_frames))
            case InputAudio(input_audio=audio):
                pieces.append(AudioSource(audio.data, f"{path}[{index}].input_audio"))
    return pieces


def _image(image: InputImage, path: str) -> ImageSource:
    fields = {"image_url": image.image_url, "file_id": image.file_id}
    given, name = one_source(path, fields)
    return ImageSource.of(given, f"{path}.{name}", image.detail)


def _document(file: InputFile, path: str) -> DocumentSource:
    heading = (file.filename,) if file.filename else ()
    fields = {"file_data": file.file_data, "file_url": file.file_url, "file_id": file.file_id}
    given, name = one_source(path, fields)
    return DocumentSource(given, path, f"{path}.{name}", heading, file.pages, file.pages_as)
