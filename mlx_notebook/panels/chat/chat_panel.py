"""A chat panel: streamed answers, images, approval of tool calls, a stop button."""

import asyncio
import base64
import time
from typing import Any

from mlx_notebook.notebook.answers.answer import Delta
from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.answers.tool_result import image_parts, text_of
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import Interrupted, NotebookError
from mlx_notebook.notebook.server import notebook_model
from mlx_notebook.notebook.tools.approval import format_call
from mlx_notebook.notebook.tools.tool import Tools, tools_by_name
from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from mlx_notebook.panels.chat.panel_chat import PanelChat, ThreadedTool
from mlx_notebook.panels.chat.streaming_text import StreamingText

# The shortest time between two updates of an answer in the browser.
_UPDATE_SECONDS = 0.1
_MAX_TEMPERATURE = 2.0
_STATES = {"writing": "being written", "waiting": "waiting for your approval"}
_ROLE_NAMES = {"user": "You", "assistant": "Model", "notice": "Notice"}


class ChatPanel(Panel):
    """A conversation in a panel.

    The field `entries` holds what is shown, by number. An entry is a user message (`at` counts the
    messages of the conversation before it), an answer (its `blocks` are reasoning, text and tool
    calls), or a notice.

    Parameters
    ----------
    tools
        Functions of the notebook that the model may call.
    model
        Name of the model; `None` stands for the notebook's model.
    system
        The system message.
    approve
        Whether the user must allow each tool call with a button.
    settings
        As for `AsyncChat`.

    Attributes
    ----------
    chat
        The conversation, an `AsyncChat`.
    """

    _esm = module(
        *("chat/markdown", "chat/approval", "chat/composer", "chat/settings"),
        *("chat/conversation", "chat/chat"),
    )
    name = "Chat"
    topics = frozenset({"models"})

    def __init__(
        self,
        tools: Tools = (),
        model: str | None = None,
        system: str | None = None,
        *,
        approve: bool = True,
        **settings: Any,
    ) -> None:
        threaded = [ThreadedTool(tool) for tool in tools_by_name(tools).values()]
        self.chat = PanelChat(
            model, system, threaded, approve=self._await_approval if approve else False, **settings
        )
        self._answering: asyncio.Task[Any] | None = None
        self._answer = ""  # the number of the current answer's entry
        self._block: tuple[str, StreamingText] | None = None
        self._calls: dict[str, str] = {}
        self._decisions: dict[str, asyncio.Future[Any]] = {}
        self._announced: str | None = None
        self._sent_at = 0.0
        self._count = 0
        super().__init__()
        self.fields = {"entries": {}, **self._settings()}

    # --- what is shown --------------------------------------------------------------------------

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Return the models that can chat."""
        models = [
            model
            for model in (source.models or {}).get("models", ())
            if model["state"] in ("resident", "loading", "available", "upstream")
            and "chat" in model["capabilities"]
        ]
        return {
            "models": [model["id"] for model in models],
            "vision_models": [model["id"] for model in models if "vision" in model["capabilities"]],
            "notebook_model": connection.default_model(),
        }

    def show(self, source: ServerWatcher) -> None:
        """Show the current state of the server, and add a notice if another model answers now."""
        super().show(source)
        self._announce_model()

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return the messages."""
        return [(_ROLE_NAMES[entry["role"]], _text_of(entry)) for entry in self._entries.values()]

    @property
    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self.fields["entries"]
        return entries

    def _settings(self) -> dict[str, Any]:
        chat = self.chat
        data = {"model": chat.model, "system": chat.system}
        return {**data, "temperature": chat.settings.get("temperature")}

    def _announce_model(self) -> None:
        model = self.chat.model or connection.default_model()
        if model is None or model == self._announced:
            return
        if self._announced is not None and self._entries:
            # Of several changes in a row, only the last one matters.
            last = next(reversed(self._entries))
            if self._entries[last]["role"] == "notice":
                self._remove_entries(last)
            change = "" if self.chat.model else notebook_model.change_message()
            self._add_entry(role="notice", text=change or f"{model} answers from now on.")
        self._announced = model

    # --- actions of the user --------------------------------------------------------------------

    async def do_ask(self, text: str, images: list[str], replaces: str | None = None) -> None:
        """Send a message. The answer is streamed through the panel's state.

        Parameters
        ----------
        text, images
            The message; images are data URIs.
        replaces
            The number of an earlier message, which is removed first with everything after it.
        """
        self._count += 1
        count = self._count
        try:
            await self._run_turn(text, images, replaces)
        except Exception:
            is_shown = any(int(k) > count and e["role"] == "user" for k, e in self._entries.items())
            if not is_shown:
                refused = {"id": str(count), "text": text, "images": images, "replaces": replaces}
                self.update_fields(refused=refused)
            raise

    async def do_regenerate(self) -> None:
        """Answer the last message again."""
        user_entries = [key for key, entry in self._entries.items() if entry["role"] == "user"]
        if not user_entries:
            raise NotebookError("There is no message to answer.")
        entry = self._entries[user_entries[-1]]
        await self._run_turn(entry["text"], entry["images"], user_entries[-1])

    async def do_stop(self) -> None:
        """Stop the model and the tools. The answer so far is kept."""
        if self._answering is not None:
            self._answering.cancel()

    async def do_decide(self, call: str, decision: str) -> None:
        """Allow a tool call, allow its tool from now on, or refuse the call."""
        future = self._decisions.get(call)
        if future is None or future.done():
            raise NotebookError("This call is no longer waiting.")
        future.set_result({"allow": True, "always": "always"}.get(decision, False))

    async def do_reset(self) -> None:
        """Start a new conversation."""
        if self._answering is not None:
            self._answering.cancel()
            # The answer so far belongs to the old conversation.
            await asyncio.wait([self._answering])
        self.chat.reset()
        self.update_fields(entries={}, refused=None)

    async def do_choose(self, model: str | None) -> None:
        """Change the model; `None` stands for the notebook's model."""
        self.chat.model = model or None
        self.update_fields(**self._settings())
        self._announce_model()

    async def do_set(self, system: str, temperature: float | None) -> None:
        """Set the system message (empty for none) and the temperature (`None` for the default)."""
        if temperature is not None and not 0 <= temperature <= _MAX_TEMPERATURE:
            raise NotebookError(f"temperature must be between 0 and 2; you gave {temperature:g}.")
        self.chat.system = system or None
        self.chat.settings.pop("temperature", None)
        if temperature is not None:
            self.chat.settings["temperature"] = temperature
        self.update_fields(**self._settings())

    # --- a turn ---------------------------------------------------------------------------------

    async def _run_turn(self, text: str, images: list[str], replaces: str | None) -> None:
        if self._answering is not None:
            raise NotebookError("The model is still answering: stop it first.")
        decoded = [base64.b64decode(image.partition(",")[2]) for image in images]
        before = self.chat.messages, self._entries
        if replaces is not None and replaces in self._entries:
            self.chat.messages = self.chat.messages[: self._entries[replaces]["at"]]
            self._remove_entries(replaces)
        at = len(self.chat.messages)
        self.update_fields(busy=True, refused=None)
        self._add_entry(role="user", text=text, images=images, at=at)
        self._answer = self._add_entry(role="assistant", blocks={}, note="Waiting for the model")
        self._answering, self._block = asyncio.current_task(), None
        self._calls.clear()
        try:
            async for delta in self.chat.stream(text, images=decoded):
                self._add_delta(delta)
            self._end_block()
            self._set_note(self.chat.last.summary() if self.chat.last else "")
        except (asyncio.CancelledError, Interrupted):
            self._end_block()
            has_begun = self._entries[self._answer]["blocks"]
            self._set_note("Interrupted" if has_begun else "Interrupted before the first word")
        except Exception as error:
            self._end_block()
            if self._entries[self._answer]["blocks"]:
                self._set_note(str(error))
            else:
                # The message was refused: restore the conversation.
                self.chat.messages = before[0]
                self.update_fields(entries=before[1])
            raise
        finally:
            self._answering = None
            self._end_calls()
            self.update_fields(busy=None, asking=None)

    async def _await_approval(self, call: ToolCall) -> Any:
        """Wait until the user presses a button."""
        future = self._decisions[call.id] = asyncio.get_running_loop().create_future()
        self._show_call(call)
        self.update_fields(asking={"id": call.id, "text": format_call(call)})
        try:
            return await future
        finally:
            del self._decisions[call.id]
            self.update_fields(asking=None)

    def _add_delta(self, delta: Delta) -> None:
        self._set_note("")
        if delta.call is not None:
            self._end_block()
            self._show_call(delta.call)
            return
        kind = "reasoning" if delta.kind == "reasoning" else "text"
        if self._block is not None and self._blocks[self._block[0]]["kind"] != kind:
            self._end_block()
        if self._block is None:
            self._block = self._put_block({"kind": kind, "text": ""}), StreamingText()
        self._block[1].add(delta.text)
        if time.monotonic() - self._sent_at >= _UPDATE_SECONDS:
            self._flush()

    # --- the entries ----------------------------------------------------------------------------

    @property
    def _blocks(self) -> dict[str, Any]:
        blocks: dict[str, Any] = self._entries[self._answer]["blocks"]
        return blocks

    def _add_entry(self, **fields: Any) -> str:
        self._count += 1
        key = str(self._count)
        self.update_fields(entries={**self._entries, key: fields})
        return key

    def _remove_entries(self, key: str) -> None:
        """Remove an entry and all that follow it."""
        entries = self._entries
        self.update_fields(entries={k: entry for k, entry in entries.items() if int(k) < int(key)})

    def _set_answer(self, **fields: Any) -> None:
        entries = self._entries
        self.update_fields(entries={**entries, self._answer: {**entries[self._answer], **fields}})

    def _set_note(self, note: str) -> None:
        if self._entries[self._answer]["note"] != note:
            self._set_answer(note=note)

    def _put_block(self, block: dict[str, Any], key: str | None = None) -> str:
        key = key or str(len(self._blocks) + 1)
        self._set_answer(blocks={**self._blocks, key: block})
        return key

    def _show_call(self, call: ToolCall) -> None:
        data = {
            "kind": "call",
            "text": f"{call.name}(…)" if call.state == "writing" else format_call(call),
            "state": _STATES.get(call.state, call.state),
            "result": call.error if call.error is not None else text_of(call.content),
            "images": [image["image_url"]["url"] for image in image_parts(call.content)],
        }
        self._calls[call.id] = self._put_block(data, self._calls.get(call.id))

    def _end_calls(self) -> None:
        """Change the state of the tool calls that the turn has not made."""
        ended = {_STATES["writing"]: "not called", _STATES["waiting"]: "not called"}
        ended["running"] = "interrupted"
        for key in self._calls.values():
            block = self._blocks[key]
            if block["state"] in ended:
                self._put_block({**block, "state": ended[block["state"]]}, key)

    def _flush(self) -> None:
        """Send the text that is new since the last time, and only that."""
        if self._block is None:
            return
        key, growing = self._block
        text = growing.take()
        if not text:
            return
        self._sent_at = time.monotonic()
        block = self._blocks[key]
        parts = growing.parts() if block["kind"] == "text" else {}
        # New objects, because those that are being sent must not change.
        grown = {**block, "text": growing.text, "parts": {**block.get("parts", {}), **parts}}
        path = ["entries", self._answer, "blocks", key]
        patch: dict[str, Any] = {"parts": parts}
        for name in reversed(path):
            patch = {name: patch}
        with self._lock:
            answer = {**self._entries[self._answer], "blocks": {**self._blocks, key: grown}}
            self.fields = {**self.fields, "entries": {**self._entries, self._answer: answer}}
            if self.comm is not None:
                self.send({"append": {"path": [*path, "text"], "text": text}, "patch": patch})

    def _end_block(self) -> None:
        """Show the current text as a whole."""
        self._flush()
        if self._block is None:
            return
        (key, growing), self._block = self._block, None
        block = self._blocks[key]
        if block["kind"] == "text":
            block = {"kind": "text", "text": growing.text, "whole": growing.whole()}
        self._put_block(block, key)


def _text_of(entry: dict[str, Any]) -> str:
    if entry["role"] != "assistant":
        return str(entry["text"])
    return "\n\n".join(b["text"] for b in entry["blocks"].values() if b["kind"] == "text")


def chat_panel(tools: Tools = (), model: str | None = None, **options: Any) -> ChatPanel:
    """Create a chat panel. Display it as the last expression of a cell.

    Parameters
    ----------
    tools
        Functions of the notebook that the model may call. Each call waits for the user's approval,
        unless `approve=False`.
    model
        Name of the model; `None` stands for the notebook's model.
    options
        `system`, `approve`, and settings such as `temperature`.

    Returns
    -------
    ChatPanel
        The panel. Its attribute `chat` is the conversation.

    Examples
    --------
    >>> mlx_notebook.chat_panel([weather], system="Answer briefly.")
    """
    return ChatPanel(tools, model, **options)
