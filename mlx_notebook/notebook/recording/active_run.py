"""The recorder or replayer that is active in this kernel, if any: at most one at a time.

Whatever sends requests to the server, a `Server` or an OpenAI client, asks `current()` first.
Nothing else needs to know about recorded runs.
"""

from collections.abc import Callable
from typing import Protocol

from mlx_notebook.notebook.server.server import Server

Send = Callable[[], tuple[int, bytes]]
"""Sends a request to the real server and returns the status and the body of the response."""


class Run(Protocol):
    """What `Recorder` and `Replayer` have in common."""

    def server(self, find: Callable[[], Server], default_model: Callable[[], str | None]) -> Server:
        """Return the server to use while this run is active."""

    def request(
        self, server: Server, method: str, path: str, body: bytes, send: Send
    ) -> tuple[int, bytes]:
        """Handle a request of a `Server`; return the status and the body of the response."""


_current: Run | None = None


def current() -> Run | None:
    """Return the active run."""
    return _current


def begin(run: Run) -> None:
    """Make a run active, in place of the one before it."""
    global _current
    _current = run


def end() -> None:
    """End the active run."""
    global _current
    _current = None
