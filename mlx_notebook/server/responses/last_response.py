"""Keep the last response of a WebSocket in memory, so that the next one can continue it."""

import msgspec

from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_store import Item


class LastResponse:
    """The items of one response that is not stored, and of all before it, in memory only.

    Parameters
    ----------
    max_bytes
        Most bytes of the items as JSON. More are not kept.

    Attributes
    ----------
    id
        Id of the response; None for none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.id: str | None = None
        self._max_bytes = max_bytes
        self._items: list[Item] = []

    def items(self, id: str) -> list[Item] | None:
        """Return the items up to and including a response, None if it is not the one kept."""
        return list(self._items) if id == self.id else None

    def keep(self, run: ResponseRun) -> None:
        """Keep a response that has ended, in place of the one before, if it is not stored."""
        self.id, self._items = None, []
        response = run.response
        if response.store:
            return
        items = [*run.before, *run.input_items, *msgspec.to_builtins(response.output)]
        if len(msgspec.json.encode(items)) <= self._max_bytes:
            self.id, self._items = response.id, items

    def forget(self, id: str | None) -> None:
        """Forget a response, since one that continues it has failed."""
        if id == self.id:
            self.id, self._items = None, []
