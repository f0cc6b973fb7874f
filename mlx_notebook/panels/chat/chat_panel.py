"""A small chat beside the cells: images, tools that ask first, a stop button."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

from mlx_notebook.notebook.answers.answer import Delta
from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.answers.tool_result import image_parts, text_of
from mlx_notebook.notebook.chat.chat import AsyncChat
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import Interrupted, NotebookError
from mlx_notebook.notebook.server import notebook_model
from mlx_notebook.notebook.tools.approval import format_call
from mlx_notebook.notebook.tools.tool import Tool, Tools, tools_by_name
from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from mlx_notebook.panels.chat.streaming_text import StreamingText

# How often the browser is sent more of an answer.
_UPDATE_SECONDS = 0.1
_MOST_TEMPERATURE = 2.0
_STATES = {"writing": "being written", "waiting": "waiting for your approval"}
_SPEAKERS = {"user": "You", "assistant": "Model", "notice": "Notice"}


class ThreadedTool(Tool):
    """A tool whose function runs beside the panels' thread, which must go on meanwhile."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.is_async = True

    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments and give the call to be made."""
        make = self._tool.prepare(arguments)
        return make if self._tool.is_async else lambda: asyncio.to_thread(make)


class PanelChat(AsyncChat):
    """A chat that prints nothing into cells."""

    def _announce(self) -> None:
        """Leave it to the panel, which shows every change of the model."""


class ChatPanel(Panel):
    """A conversation in a panel.

    The field `entries` holds what is shown, by number: messages of the user (with `at`, how many
    messages of the conversation stand before), answers of the model as `blocks` of reasoning, text
    and tool calls, and notices.

    Parameters
    ----------
    tools
        Functions of the notebook that the model may call; each call waits for Allow or Refuse.
    model, system, settings
        As for `AsyncChat`, whose conversation is the attribute `chat`. Without a model the chat
        follows the notebook's own.
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
        box = [ThreadedTool(tool) for tool in tools_by_name(tools).values()]
        self.chat = PanelChat(
            model, system, box, approve=self._ask_person if approve else False, **settings
        )
        self._answering: asyncio.Task[Any] | None = None
        self._answer = ""  # the number of its entry
        self._block: tuple[str, StreamingText] | None = None
        self._calls: dict[str, str] = {}
        self._verdicts: dict[str, asyncio.Future[Any]] = {}
        self._announced: str | None = None
        self._sent_at = 0.0
        self._count = 0
        super().__init__()
        self.fields = {"entries": {}, "tools": [tool.name for tool in box], **self._settings()}

    # --- what is shown --------------------------------------------------------------------------

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Give the models that can chat."""
        models = [
            model
            for model in (source.models or {}).get("models", ())
            if model["state"] in ("resident", "loading", "available")
            and "chat" in model["capabilities"]
        ]
        return {
            "models": [model["id"] for model in models],
            "vision_models": [model["id"] for model in models if "vision" in model["capabilities"]],
            "notebook_model": connection.default_model(),
        }

    def show(self, source: ServerWatcher) -> None:
        """Show what the feed knows now, and announce that another model answers."""
        super().show(source)
        self._announce()

    def summary_rows(self) -> list[tuple[str, str]]:
        """Give what was said."""
        return [(_SPEAKERS[entry["role"]], _said(entry)) for entry in self._entries.values()]

    @property
    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self.fields["entries"]
        return entries

    def _settings(self) -> dict[str, Any]:
        chat = self.chat
        told = {"model": chat.model, "system": chat.system}
        return {**told, "temperature": chat.settings.get("temperature")}

    def _announce(self) -> None:
        model = self.chat.model or connection.default_model()
        if model is None or model == self._announced:
            return
        if self._announced is not None and self._entries:
            # Only the last of several changes matters to what follows.
            last = next(reversed(self._entries))
            if self._entries[last]["role"] == "notice":
                self._forget(last)
            change = "" if self.chat.model else notebook_model.change_message()
            self._entry(role="notice", text=change or f"{model} answers from now on.")
        self._announced = model

    # --- what the person does -------------------------------------------------------------------

    async def do_ask(self, text: str, images: list[str], replaces: str | None = None) -> None:
        """Say something; the answer comes through the panel's state.

        Parameters
        ----------
        text, images
            The message; images as data URIs.
        replaces
            The number of an earlier message. The conversation goes back to before it.
        """
        self._count += 1
        count = self._count
        try:
            await self._say(text, images, replaces)
        except Exception:
            stands = any(int(k) > count and e["role"] == "user" for k, e in self._entries.items())
            if not stands:
                refused = {"id": str(count), "text": text, "images": images, "replaces": replaces}
                self.change(refused=refused)
            raise

    async def do_regenerate(self) -> None:
        """Have the last message answered anew."""
        asked = [key for key, entry in self._entries.items() if entry["role"] == "user"]
        if not asked:
            raise NotebookError("There is no message to answer.")
        entry = self._entries[asked[-1]]
        await self._say(entry["text"], entry["images"], asked[-1])

    async def do_stop(self) -> None:
        """Stop model and tools; what came is kept."""
        if self._answering is not None:
            self._answering.cancel()

    async def do_decide(self, call: str, verdict: str) -> None:
        """Allow a call, allow its tool from now on, or refuse it."""
        future = self._verdicts.get(call)
        if future is None or future.done():
            raise NotebookError("This call is no longer waiting.")
        future.set_result({"allow": True, "always": "always"}.get(verdict, False))

    async def do_reset(self) -> None:
        """Begin a new conversation."""
        if self._answering is not None:
            self._answering.cancel()
            # What it has said so far belongs to the conversation that ends here.
            await asyncio.wait([self._answering])
        self.chat.reset()
        self.change(entries={}, refused=None)

    async def do_choose(self, model: str | None) -> None:
        """Have a model answer from now on; `None` follows the notebook's own."""
        self.chat.model = model or None
        self.change(**self._settings())
        self._announce()

    async def do_set(self, system: str, temperature: float | None) -> None:
        """Set the system prompt (empty for none) and the temperature (`None`: the model's own)."""
        if temperature is not None and not 0 <= temperature <= _MOST_TEMPERATURE:
            raise NotebookError(f"temperature must be between 0 and 2; you gave {temperature:g}.")
        self.chat.system = system or None
        self.chat.settings.pop("temperature", None)
        if temperature is not None:
            self.chat.settings["temperature"] = temperature
        self.change(**self._settings())

    # --- a turn ---------------------------------------------------------------------------------

    async def _say(self, text: str, images: list[str], replaces: str | None) -> None:
        if self._answering is not None:
            raise NotebookError("The model is still answering: stop it first.")
        decoded = [base64.b64decode(image.partition(",")[2]) for image in images]
        before = self.chat.messages, self._entries
        if replaces is not None and replaces in self._entries:
            self.chat.messages = self.chat.messages[: self._entries[replaces]["at"]]
            self._forget(replaces)
        at = len(self.chat.messages)
        self.change(busy=True, refused=None)
        self._entry(role="user", text=text, images=images, at=at)
        self._answer = self._entry(role="assistant", blocks={}, note="Waiting for the model")
        self._answering, self._block = asyncio.current_task(), None
        self._calls.clear()
        try:
            async for delta in self.chat.stream(text, images=decoded):
                self._take(delta)
            self._end_block()
            self._note(self.chat.last.summary() if self.chat.last else "")
        except (asyncio.CancelledError, Interrupted):
            self._end_block()
            has_begun = self._entries[self._answer]["blocks"]
            self._note("Interrupted" if has_begun else "Interrupted before the first word")
        except Exception as error:
            self._end_block()
            if self._entries[self._answer]["blocks"]:
                self._note(str(error))
            else:
                # Refused: the conversation is as it was.
                self.chat.messages = before[0]
                self.change(entries=before[1])
            raise
        finally:
            self._answering = None
            self._end_calls()
            self.change(busy=None, asking=None)

    async def _ask_person(self, call: ToolCall) -> Any:
        """Wait until the person has pressed a button."""
        future = self._verdicts[call.id] = asyncio.get_running_loop().create_future()
        self._show_call(call)
        self.change(asking={"id": call.id, "text": format_call(call)})
        try:
            return await future
        finally:
            del self._verdicts[call.id]
            self.change(asking=None)

    def _take(self, delta: Delta) -> None:
        self._note("")
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

    def _entry(self, **fields: Any) -> str:
        self._count += 1
        key = str(self._count)
        self.change(entries={**self._entries, key: fields})
        return key

    def _forget(self, key: str) -> None:
        """Take an entry away, and all that follow it."""
        entries = self._entries
        self.change(entries={k: entry for k, entry in entries.items() if int(k) < int(key)})

    def _set_answer(self, **fields: Any) -> None:
        entries = self._entries
        self.change(entries={**entries, self._answer: {**entries[self._answer], **fields}})

    def _note(self, note: str) -> None:
        if self._entries[self._answer]["note"] != note:
            self._set_answer(note=note)

    def _put_block(self, block: dict[str, Any], key: str | None = None) -> str:
        key = key or str(len(self._blocks) + 1)
        self._set_answer(blocks={**self._blocks, key: block})
        return key

    def _show_call(self, call: ToolCall) -> None:
        told = {
            "kind": "call",
            "text": f"{call.name}(…)" if call.state == "writing" else format_call(call),
            "state": _STATES.get(call.state, call.state),
            "result": call.error if call.error is not None else text_of(call.content),
            "images": [image["image_url"]["url"] for image in image_parts(call.content)],
        }
        self._calls[call.id] = self._put_block(told, self._calls.get(call.id))

    def _end_calls(self) -> None:
        """Say of the calls that a turn has left undone that they are."""
        ended = {_STATES["writing"]: "not called", _STATES["waiting"]: "not called"}
        ended["running"] = "interrupted"
        for key in self._calls.values():
            block = self._blocks[key]
            if block["state"] in ended:
                self._put_block({**block, "state": ended[block["state"]]}, key)

    def _flush(self) -> None:
        """Send what has come since the last time: only that, however long the answer is."""
        if self._block is None:
            return
        key, growing = self._block
        text = growing.take()
        if not text:
            return
        self._sent_at = time.monotonic()
        block = self._blocks[key]
        parts = growing.parts() if block["kind"] == "text" else {}
        # New objects, since one that is on its way to the browser must not change.
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
        """Show the text that came last as a whole."""
        self._flush()
        if self._block is None:
            return
        (key, growing), self._block = self._block, None
        block = self._blocks[key]
        if block["kind"] == "text":
            block = {"kind": "text", "text": growing.text, "whole": growing.whole()}
        self._put_block(block, key)


def _said(entry: dict[str, Any]) -> str:
    if entry["role"] != "assistant":
        return str(entry["text"])
    return "\n\n".join(b["text"] for b in entry["blocks"].values() if b["kind"] == "text")


def chat_panel(tools: Tools = (), model: str | None = None, **options: Any) -> ChatPanel:
    """Make a chat beside the cells; parameters are those of `ChatPanel`."""
    return ChatPanel(tools, model, **options)
