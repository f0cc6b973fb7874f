"""A server whose requests pass through the active recorder or replayer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlx_notebook.notebook.recording import active_run
from mlx_notebook.notebook.server.server import Server


class RecordedServer(Server):
    """A `Server` that hands each request to the active run before it sends it."""

    def exchange(
        self, method: str, path: str, body: bytes | None, timeout: float | None
    ) -> tuple[int, bytes]:
        """Return the status and the body of the response, recorded or from the server."""

        def send() -> tuple[int, bytes]:
            return super(RecordedServer, self).exchange(method, path, body, timeout)

        run = active_run.current()
        return send() if run is None else run.request(self, method, path, body or b"", send)

    @contextmanager
    def events(self, path: str) -> Iterator[Iterator[dict[str, Any]]]:
        """Yield the events of a job; during a run, only the last one, once the job has ended."""
        if active_run.current() is None:
            with super().events(path) as events:
                yield events
        else:
            yield iter([self.get(f"{path}?wait=true", timeout=None)])

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """Yield the events of the response; during a run, only the last one.

        Progress is not recorded: a run sends the request without `stream`.
        """
        if active_run.current() is None:
            with super().stream(path, body) as events:
                yield events
        else:
            yield iter([{"phase": "done", **self.post(path, {**body, "stream": False})}])
