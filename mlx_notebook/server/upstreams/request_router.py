"""Send each request to the engine or to the upstream of its model."""

from contextlib import AbstractAsyncContextManager

from mlx_notebook.protocol import Generate
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.telemetry.request_traces import RequestOrigin
from mlx_notebook.server.upstreams.upstream_request import UpstreamGenerate
from mlx_notebook.server.upstreams.upstreams import Upstreams


class RequestRouter:
    """Send each request to the engine or to the upstream of its model.

    Parameters
    ----------
    engine
        Client of the engine.
    upstreams
        All upstreams.
    """

    def __init__(self, engine: EngineClient, upstreams: Upstreams) -> None:
        self._engine = engine
        self._upstreams = upstreams

    def generate(
        self, command: Generate, origin: RequestOrigin
    ) -> AbstractAsyncContextManager[RequestStream]:
        """Run a request, and cancel it if the block ends first.

        Raises
        ------
        ApiError
            If it cannot be accepted.
        """
        if isinstance(command, UpstreamGenerate):
            return self._upstreams.client(command.upstream).generate(command, origin)
        return self._engine.generate(command, origin)

    def cancel(self, id: str, owner: str | None = None) -> bool:
        """Cancel a request of a user (None: of any user). Return whether there was one."""
        at_upstream = self._upstreams.cancel(id, owner)
        return self._engine.cancel(id, owner) or at_upstream
