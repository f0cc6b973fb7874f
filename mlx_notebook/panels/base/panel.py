"""What all panels share: their state in the browser, their buttons, their life."""

import asyncio
import logging
import threading
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from mlx_notebook.notebook.connection.connection import connect
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.panels.base.merge_patch import merge_patch
from mlx_notebook.panels.base.server_client import ServerClient
from mlx_notebook.panels.base.server_watcher import ServerWatcher, watcher
from mlx_notebook.panels.base.static_html import static_fallback, table

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parents[1]


def module(*names: str) -> str:
    """Give the ES module of a panel: what panels share, then its own files.

    A browser gets each panel's module as one text, so that it cannot import from another.
    """
    files = [_FOLDER / f"{name}.js" for name in ("base/shared", *names)]
    return "".join(file.read_text(encoding="utf-8") for file in files)


class Panel(anywidget.AnyWidget):
    """A live view of the server.

    The browser gets the whole state once, and then only what changes, at most four times a
    second. It never holds the server's token: buttons send a word to the kernel, whose panels'
    thread asks the server. A panel listens from its display on until its last view is closed (a
    cell that is run again) or `close()` is called, which stops what it does. When the page is left
    (a reload), what it does goes on, and the panel pauses after that.
    """

    _css = (_FOLDER / "base/panels.css").read_text(encoding="utf-8")
    # Never changes: it only carries the state to a browser that opens the panel.
    state = traitlets.Dict().tag(sync=True, to_json=lambda _, panel: panel.fields)
    # Tells a live view which table of a saved notebook it stands in for.
    shown_as = traitlets.Unicode().tag(sync=True)

    name: ClassVar[str] = "Panel"
    topics: frozenset[str] = frozenset()

    def __init__(self, source: ServerWatcher = watcher) -> None:
        self.watcher = source
        self.fields: dict[str, Any] = {}
        # A cell that shows the panel again changes it beside the panels' thread.
        self._lock = threading.RLock()
        self._views: set[str] = set()
        self._is_left = False
        self._tasks: dict[str, Any] = {}
        super().__init__(shown_as=uuid.uuid4().hex[:12])
        self.on_msg(self._on_message)

    # --- life -----------------------------------------------------------------------------------

    def listen(self) -> None:
        """Begin to listen (a panel that is displayed does)."""
        self.watcher.join(self)
        self.watcher.look()
        self.show(self.watcher)

    def pause(self) -> None:
        """Listen no more until a view is opened again."""
        for task in [*self._tasks.values()]:
            task.cancel()
        self._tasks.clear()
        self.watcher.leave(self)

    def close(self) -> None:
        """Take the panel away: its views show nothing any more, and nothing runs for it."""
        self.pause()
        super().close()

    def heartbeat(self, seconds: float) -> None:
        """Tell the views that the kernel lives; the next word comes within `seconds`."""
        if self._views and self.comm is not None:
            self.send({"beat": seconds})

    # --- what is shown --------------------------------------------------------------------------

    def show(self, source: ServerWatcher) -> None:
        """Show what the feed knows now."""
        status = source.status or {}
        self.change(
            server=source.server.url if source.server else None,
            problem=source.problem,
            engine=status.get("engine") and _engine(status["engine"]),
            **self.build_fields(source),
        )

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Give the fields that this panel shows of what the feed knows."""
        return {}

    def change(self, **fields: Any) -> None:
        """Set fields of the state, and tell the browser what differs."""
        with self._lock:
            new = {**self.fields, **fields}
            patch = merge_patch(self.fields, new)
            self.fields = {name: value for name, value in new.items() if value is not None}
            if patch and self.comm is not None:
                self.send({"patch": patch})

    def summary_rows(self) -> list[tuple[str, str]]:
        """Give what a saved notebook shows in place of the panel: labels and values."""
        return []

    def summary_html(self) -> str:
        """Give what it shows below them, as HTML that needs neither styles nor scripts."""
        return ""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        self.listen()
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, **self._saved()}, metadata

    def _ipython_display_(self, **kwargs: Any) -> None:
        """Display two outputs: what stays in a saved notebook, and the live panel in its place.

        In one output, JupyterLab would show "model not found" where the kernel is gone.
        """
        from IPython.display import publish_display_data

        self.listen()
        saved = self._saved()
        saved["text/html"] = static_fallback(saved["text/html"], self.shown_as)
        publish_display_data(saved)  # type: ignore[no-untyped-call]
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            data, metadata = bundle
            view = {name: value for name, value in data.items() if name != "text/plain"}
            publish_display_data(view, metadata)  # type: ignore[no-untyped-call]

    def _saved(self) -> dict[str, str]:
        """Give what a notebook shows of the panel where no kernel runs."""
        rows = self.summary_rows()
        if problem := self.fields.get("problem"):
            rows = [("Server", problem), *rows]
        lines = [f"{self.name} of mlx-notebook", *(f"{label}: {value}" for label, value in rows)]
        title = f"{self.name}, as of the time this cell ran"
        return {
            "text/plain": "\n".join(lines),
            "text/html": table(rows, title) + self.summary_html(),
        }

    # --- what the browser says ------------------------------------------------------------------

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        match content:
            case {"hello": _}:
                self.send({"state": self.fields})
            case {"opened": str(view)}:
                self._views.add(view)
                self._is_left = False
                self.watcher.join(self)
            case {"closed": str(view)}:
                self._views.discard(view)
                if not self._views:
                    self.pause()
            case {"left": str(view)}:
                self._views.discard(view)
                self._is_left = not self._views
                self._rest()
            case {"stop": str(id)}:
                if task := self._tasks.get(id):
                    task.cancel()
            case {"call": str(id), "do": str(name)}:
                self.send({"taken": id})
                self.watcher.join(self)
                action = getattr(self, f"do_{name}")
                task = self.watcher.thread.start(self._carry_out(id, action(**content["with"])))
                if task is not None:
                    self._tasks[id] = task
                    task.add_done_callback(lambda _: self._ended(id))

    async def _carry_out(self, id: str, action: Coroutine[Any, Any, Any]) -> None:
        try:
            self.send({"reply": id, "result": await action})
        except asyncio.CancelledError:
            self.send({"reply": id, "error": "Stopped."})
            raise
        except NotebookError as error:
            self.send({"reply": id, "error": str(error)})
        except Exception as error:
            log.exception("An order of the panel %s failed.", self.name)
            self.send({"reply": id, "error": f"This failed: {error!r}"})

    def _ended(self, id: str) -> None:
        self._tasks.pop(id, None)
        self._rest()

    def _rest(self) -> None:
        """Pause where no page shows the panel and nothing runs for it."""
        if self._is_left and not self._tasks:
            self.pause()

    async def get(self, path: str, **query: str) -> Any:
        """Ask the server. Raises `NotebookError`."""
        async with ServerClient.using(await self._server()) as requests:
            return await requests.get(path, **query)

    async def post(self, path: str, **body: Any) -> Any:
        """Order something from the server. Raises `NotebookError`."""
        async with ServerClient.using(await self._server()) as requests:
            return await requests.post(path, body)

    async def _server(self) -> Server:
        # Finding a server may take as long as starting one, and the thread serves all panels.
        server = self.watcher.server
        return server if server is not None else await asyncio.to_thread(connect)


def _engine(engine: dict[str, Any]) -> dict[str, Any]:
    """What is shown of the engine; its uptime would change all the time."""
    return {name: engine[name] for name in ("state", "device", "restarts", "error")}
