"""Handle `mlx/traces` and `mlx/traces/{id}`: records of the last requests of a user."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server import errors
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.identity import OWNER, owner
from mlx_notebook.server.wire.native.trace_types import TraceList


class TracesBase(ApiHandler):
    """Base of these routes."""

    async def traces_owner(self) -> str:
        """Return the user whose traces are asked for: the caller, or the one that `user` names.

        Raises
        ------
        Forbidden
            If another user is named, and the caller is no admin who may read texts.
        """
        own = await owner(self)
        name = self.get_query_argument("user", self.user.name)
        if name == self.user.name:
            return own
        if not (self.user.admin and self.services.admin_reads_texts):
            raise errors.Forbidden(
                "What another user wrote is theirs. Only an admin may read it, and only with "
                "MlxNotebookApp.admin_reads_texts.",
                param="user",
                code="texts_are_private",
            )
        return f"user:{name}" if name else OWNER


class TracesHandler(TracesBase):
    """List the traces of a user."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the traces, newest first. `?search=` selects those that contain a text."""
        search = self.get_query_argument("search", "")
        traces = self.services.engine.traces
        self.answer(TraceList(traces.list(await self.traces_owner(), search)))


class TraceHandler(TracesBase):
    """Show one trace."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with the trace."""
        trace = self.services.engine.traces.find(await self.traces_owner(), id)
        if trace is None:
            raise errors.NotFound(
                f"There is no trace of a request {id[:100]!r}. mlx/traces lists all traces.",
                code="trace_not_found",
            )
        self.finish(trace)
