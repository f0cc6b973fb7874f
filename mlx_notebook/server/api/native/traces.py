"""Handle `mlx/traces` and `mlx/traces/{id}`: records of the last requests of a user."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server import errors
from mlx_notebook.server.api.base import ApiHandler
from mlx_notebook.server.identity import owner
from mlx_notebook.server.wire.native.trace_types import TraceList


class TracesHandler(ApiHandler):
    """List the traces of a user."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the traces, newest first. `?search=` selects those that contain a text."""
        search = self.get_query_argument("search", "")
        self.answer(TraceList(self.services.engine.traces.list(await owner(self), search)))


class TraceHandler(ApiHandler):
    """Show one trace."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with the trace."""
        trace = self.services.engine.traces.find(await owner(self), id)
        if trace is None:
            raise errors.NotFound(
                f"There is no trace of a request {id[:100]!r}. mlx/traces lists all traces.",
                code="trace_not_found",
            )
        self.finish(trace)
