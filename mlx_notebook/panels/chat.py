"""A small chat beside the cells: pictures, tools that ask first, a stop button."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

from mlx_notebook.notebook.answer import Delta
from mlx_notebook.notebook.calls import Call
from mlx_notebook.notebook.chat import AsyncChat
from mlx_notebook.notebook.errors import Interrupted, NotebookError
from mlx_notebook.notebook.tools import Tool, Tools, toolbox
from mlx_notebook.panels.feed import SHORTEST_SECONDS, Feed
from mlx_notebook.panels.panel import Panel, module

_STATES = {"writing": "being written", "waiting": "waits for you"}


class InAThread(Tool):
    """A tool whose function runs beside the panels' thread, which must go on meanwhile."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.is_async = True

    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments and give the call to be made."""
        make = self._tool.prepare(arguments)
        return make if self._tool.is_async else lambda: asyncio.to_thread(make)


class ChatPanel(Panel):
    """A conversation in a panel.

    Parameters
    ----------
    tools
        Functions of the notebook that the model may call; each call waits for Allow or Refuse.
    model, system, settings
        As for `AsyncChat`, whose conversation is the attribute `chat`.
    """

    _esm = module("chat")
    name = "Chat"
    wants = frozenset({"models"})

    def __init__(
        self,
        tools: Tools = (),
        model: str | None = None,
        system: str | None = None,
        *,
        approve: bool = True,
        **settings: Any,
    ) -> None:
        box = [InAThread(tool) for tool in toolbox(tools).values()]
        self.chat = AsyncChat(
            model, system, box, approve=self._asked if approve else False, **settings
        )
        self._answering: asyncio.Task[Any] | None = None
        self._answer = ""
        self._verdicts: dict[str, asyncio.Future[Any]] = {}
        self._waiting = ""
        self._kind = "text"
        self._sent_at = 0.0
        self._count = 0
        super().__init__()
        self.fields = {"entries": {}, "tools": [tool.name for tool in box]}

    def figures(self, source: Feed) -> dict[str, Any]:
        """Give the models that can chat."""
        models = [
            model
            for model in (source.models or {}).get("models", ())
            if model["state"] in ("resident", "loading", "available")
            and "chat" in model["capabilities"]
        ]
        return {
            "models": [model["id"] for model in models],
            "seeing": [model["id"] for model in models if "vision" in model["capabilities"]],
            "default": (source.status or {}).get("default_model"),
            "model": self.chat.model,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Give what was said."""
        return [(entry["role"], entry["text"]) for entry in self.fields["entries"].values()]

    async def do_ask(self, text: str, images: list[str], model: str | None = None) -> None:
        """Say something; the answer comes through the panel's state."""
        if self._answering is not None:
            raise NotebookError("The model still answers: stop it first.")
        self.chat.model = model or self.chat.model
        pictures = [base64.b64decode(image.partition(",")[2]) for image in images]
        self._entry(role="user", text=text, images=images)
        answer = self._entry(role="assistant", text="", thinking="", note="waiting for the model")
        self.change(busy=True)
        self._answering, self._answer = asyncio.current_task(), answer
        try:
            async for delta in self.chat.stream(text, images=pictures):
                self._take(answer, delta)
            self._flush(answer)
            self._note(answer, self.chat.last.summary() if self.chat.last else "")
        except (asyncio.CancelledError, Interrupted):
            self._flush(answer)
            self._note(answer, "stopped")
        except NotebookError as error:
            self._flush(answer)
            self._note(answer, str(error))
            raise
        finally:
            self._answering = None
            self.change(busy=None, asking=None)

    async def do_halt(self) -> None:
        """Stop model and tools; what came is kept."""
        if self._answering is not None:
            self._answering.cancel()

    async def do_decide(self, call: str, verdict: str) -> None:
        """Allow a call, allow its tool from now on, or refuse it."""
        future = self._verdicts.get(call)
        if future is None or future.done():
            raise NotebookError("This call no longer waits.")
        future.set_result({"allow": True, "always": "always"}.get(verdict, False))

    async def do_reset(self) -> None:
        """Begin a new conversation."""
        await self.do_halt()
        self.chat.reset()
        self.change(entries={})

    async def _asked(self, call: Call) -> Any:
        """Wait until the person has pressed a button."""
        future = self._verdicts[call.id] = asyncio.get_running_loop().create_future()
        self._show_call(self._answer, call)
        self.change(asking={"id": call.id, "text": str(call)})
        try:
            return await future
        finally:
            del self._verdicts[call.id]
            self.change(asking=None)

    def _entry(self, **fields: Any) -> str:
        self._count += 1
        key = str(self._count)
        self.change(entries={**self.fields["entries"], key: fields})
        return key

    def _note(self, key: str, note: str) -> None:
        entries = self.fields["entries"]
        if key in entries and entries[key].get("note") != note:
            self.change(entries={**entries, key: {**entries[key], "note": note}})

    def _take(self, key: str, delta: Delta) -> None:
        self._note(key, "")
        if delta.call is not None:
            self._flush(key)
            self._show_call(key, delta.call)
            return
        kind = "thinking" if delta.kind == "reasoning" else "text"
        if kind != self._kind:
            self._flush(key)
        self._kind = kind
        self._waiting += delta.text
        if time.monotonic() - self._sent_at >= SHORTEST_SECONDS:
            self._flush(key)

    def _show_call(self, key: str, call: Call) -> None:
        entries = self.fields["entries"]
        if key not in entries:
            return
        text = f"{call.name}(…)" if call.state == "writing" else str(call)
        told = {"text": text, "state": _STATES.get(call.state, call.state), "result": _told(call)}
        calls = {**entries[key].get("calls", {}), call.id: told}
        self.change(entries={**entries, key: {**entries[key], "calls": calls}})

    def _flush(self, key: str) -> None:
        """Send what has come since the last time: only that, however long the answer is."""
        text, self._waiting = self._waiting, ""
        entry = self.fields["entries"].get(key)
        if not text or entry is None:
            return
        self._sent_at = time.monotonic()
        # A new object, since one that is on its way to the browser must not change.
        grown = {**entry, self._kind: entry.get(self._kind, "") + text}
        self.fields = {**self.fields, "entries": {**self.fields["entries"], key: grown}}
        if self.comm is not None:
            self.send({"append": {"entry": key, "field": self._kind, "text": text}})


def _told(call: Call) -> str:
    if call.error is not None:
        return call.error
    return call.content if isinstance(call.content, str) else "a picture"


def chat_panel(tools: Tools = (), model: str | None = None, **options: Any) -> ChatPanel:
    """Make a chat beside the cells; parameters are those of `ChatPanel`."""
    return ChatPanel(tools, model, **options)
