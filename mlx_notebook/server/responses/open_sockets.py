"""Count the WebSockets of each user, and close them when the server stops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlx_notebook.server.errors import RateLimited

_ASK_AGAIN_SECONDS = 1


class OpenSockets:
    """Know the connections that are open.

    Parameters
    ----------
    most
        Most connections of a user.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, list[Callable[[], None]]] = {}

    @contextmanager
    def opened(self, owner: str, close: Callable[[], None]) -> Iterator[None]:
        """Count a connection of a user during the block. `close` closes it.

        Raises
        ------
        RateLimited
            If the user has as many as they may.
        """
        own = self._open.get(owner, [])
        if len(own) >= self._most:
            raise RateLimited(
                f"You have {len(own)} WebSockets open, as many as this server allows "
                "(MlxNotebookApp.max_sockets). Close one of them.",
                kind="requests",
                retry_after=_ASK_AGAIN_SECONDS,
            )
        own.append(close)
        self._open[owner] = own
        try:
            yield
        finally:
            own.remove(close)
            if not own:
                self._open.pop(owner, None)

    def close(self) -> None:
        """Close all connections."""
        for own in list(self._open.values()):
            for close in list(own):
                close()
