"""The base class of all panels: state in the browser, actions of buttons, life cycle."""

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
    """Return the ES module of a panel: the shared code, then the panel's own files.

    A browser loads each panel's module as one text, which cannot import from another.
    """
    files = [_FOLDER / f"{name}.js" for name in ("base/shared", *names)]
    return "".join(file.read_text(encoding="utf-8") for file in files)


class Panel(anywidget.AnyWidget):
    """A live view of the server.

    The browser gets the whole state once and then only changes, at most four times a second. It
    never gets the server's token: buttons send a message to the kernel, whose panel thread sends
    the request.

    A panel subscribes to the server's state when it is displayed. It stops when its last view is
    closed (its cell is run again) or `close()` is called; running actions are cancelled then. When
    the page is left or reloaded, running actions continue and the panel pauses after them.
    """

    _css = (_FOLDER / "base/panels.css").read_text(encoding="utf-8")
    # Only for a browser that opens the panel. Changes are sent as patches.
    state = traitlets.Dict().tag(sync=True, to_json=lambda _, panel: panel.fields)
    # Connects a live view with the static output that it replaces.
    shown_as = traitlets.Unicode().tag(sync=True)

    name: ClassVar[str] = "Panel"
    topics: frozenset[str] = frozenset()

    def __init__(self, source: ServerWatcher = watcher) -> None:
        self.watcher = source
        self.fields: dict[str, Any] = {}
        # A cell that shows the panel again changes it at the same time as the panel thread.
        self._lock = threading.RLock()
        self._views: set[str] = set()
        self._is_left = False
        self._tasks: dict[str, Any] = {}
        super().__init__(shown_as=uuid.uuid4().hex[:12])
        self.on_msg(self._on_message)

    # --- life cycle -----------------------------------------------------------------------------

    def listen(self) -> None:
        """Subscribe to the server's state. Displaying the panel does this."""
        self.watcher.subscribe(self)
        self.watcher.fetch()
        self.show(self.watcher)

    def pause(self) -> None:
        """Unsubscribe until a view is opened, and cancel running actions."""
        for task in [*self._tasks.values()]:
            task.cancel()
        self._tasks.clear()
        self.watcher.unsubscribe(self)

    def close(self) -> None:
        """Close the panel: its views become empty and its actions are cancelled."""
        self.pause()
        super().close()

    def __del__(self) -> None:
        # The garbage collector calls this in any thread, also in one for which another thread
        # waits with a lock: it must take none. What is subscribed or running is referenced, so
        # nothing has to be ended here.
        super().close()

    def heartbeat(self, seconds: float) -> None:
        """Tell the views that the kernel is running. The next heartbeat comes within `seconds`."""
        if self._views and self.comm is not None:
            self.send({"heartbeat": seconds})

    # --- what is shown --------------------------------------------------------------------------

    def show(self, source: ServerWatcher) -> None:
        """Show the current state of the server."""
        status = source.status or {}
        self.update_fields(
            server=source.server.url if source.server else None,
            problem=source.problem,
            engine=status.get("engine") and _engine(status["engine"]),
            **self.build_fields(source),
        )

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Return the fields of this panel for the current state of the server."""
        return {}

    def update_fields(self, **fields: Any) -> None:
        """Set fields of the state and send the difference to the browser."""
        with self._lock:
            new = {**self.fields, **fields}
            patch = merge_patch(self.fields, new)
            self.fields = {name: value for name, value in new.items() if value is not None}
            if patch and self.comm is not None:
                self.send({"patch": patch})

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return what a saved notebook shows in place of the panel: labels and values."""
        return []

    def summary_html(self) -> str:
        """Return what it shows below the rows, as HTML without styles and scripts."""
        return ""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        self.listen()
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, **self._static_bundle()}, metadata

    def _ipython_display_(self, **kwargs: Any) -> None:
        """Display two outputs: the static one for a saved notebook, then the live panel.

        As one output, JupyterLab would show "model not found" without a kernel.
        """
        from IPython.display import publish_display_data

        self.listen()
        saved = self._static_bundle()
        saved["text/html"] = static_fallback(saved["text/html"], self.shown_as)
        publish_display_data(saved)  # type: ignore[no-untyped-call]
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            data, metadata = bundle
            view = {name: value for name, value in data.items() if name != "text/plain"}
            publish_display_data(view, metadata)  # type: ignore[no-untyped-call]

    def _static_bundle(self) -> dict[str, str]:
        """Return what a notebook shows without a kernel."""
        rows = self.summary_rows()
        if problem := self.fields.get("problem"):
            rows = [("Server", problem), *rows]
        lines = [f"{self.name} of mlx-notebook", *(f"{label}: {value}" for label, value in rows)]
        title = f"{self.name}, as of the time this cell ran"
        return {
            "text/plain": "\n".join(lines),
            "text/html": table(rows, title) + self.summary_html(),
        }

    # --- messages from the browser --------------------------------------------------------------

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        match content:
            case {"get_state": _}:
                self.send({"state": self.fields})
            case {"opened": str(view)}:
                self._views.add(view)
                self._is_left = False
                self.watcher.subscribe(self)
            case {"closed": str(view)}:
                self._views.discard(view)
                if not self._views:
                    self.pause()
            case {"page_left": str(view)}:
                self._views.discard(view)
                self._is_left = not self._views
                self._pause_if_unused()
            case {"stop": str(id)}:
                if task := self._tasks.get(id):
                    task.cancel()
            case {"call": str(id), "method": str(name), "args": dict(args)}:
                self.send({"accepted": id})
                self.watcher.subscribe(self)
                action = getattr(self, f"do_{name}")
                task = self.watcher.thread.start(self._run_action(id, action(**args)))
                if task is not None:
                    self._tasks[id] = task
                    task.add_done_callback(lambda _: self._action_ended(id))

    async def _run_action(self, id: str, action: Coroutine[Any, Any, Any]) -> None:
        try:
            self.send({"reply": id, "result": await action})
        except asyncio.CancelledError:
            self.send({"reply": id, "error": "Stopped."})
            raise
        except NotebookError as error:
            self.send({"reply": id, "error": str(error)})
        except Exception as error:
            log.exception("An action of the panel %s failed.", self.name)
            self.send({"reply": id, "error": f"This failed: {error!r}"})

    def _action_ended(self, id: str) -> None:
        self._tasks.pop(id, None)
        self._pause_if_unused()

    def _pause_if_unused(self) -> None:
        """Pause if no page shows the panel and no action is running."""
        if self._is_left and not self._tasks:
            self.pause()

    async def get(self, path: str, **query: str) -> Any:
        """Send `GET path` to the server and return the decoded JSON.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        async with ServerClient.connect(await self._server()) as client:
            return await client.get(path, **query)

    async def post(self, path: str, **body: Any) -> Any:
        """Send `POST path` to the server and return the decoded JSON.

        Raises
        ------
        NotebookError
            If the server does not answer or answers with an error.
        """
        async with ServerClient.connect(await self._server()) as client:
            return await client.post(path, body)

    async def _server(self) -> Server:
        # Connecting may start a server, and must not block the thread of all panels.
        server = self.watcher.server
        return server if server is not None else await asyncio.to_thread(connect)


def _engine(engine: dict[str, Any]) -> dict[str, Any]:
    """Return the engine's fields without its uptime, which changes all the time."""
    return {name: engine[name] for name in ("state", "device", "restarts", "error")}
