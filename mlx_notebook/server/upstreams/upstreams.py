"""All upstreams of the server: their models by name, who may use them, and their requests."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from logging import Logger
from typing import Any

from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import Forbidden
from mlx_notebook.server.telemetry.request_traces import TraceStore
from mlx_notebook.server.upstreams.upstream_client import UpstreamClient
from mlx_notebook.server.upstreams.upstream_connection import UpstreamConnection
from mlx_notebook.server.upstreams.upstream_keys import UpstreamKey
from mlx_notebook.server.upstreams.upstream_models import UpstreamModel, UpstreamModels
from mlx_notebook.server.upstreams.upstream_request import Body, take_parameters
from mlx_notebook.server.upstreams.upstream_settings import SEPARATOR, UpstreamSettings
from mlx_notebook.server.users.user import LOCAL, User

# How long a list of all models waits for an upstream. Later lists have its models.
_PATIENCE_SECONDS = 2.0


class Upstreams:
    """Hold all upstreams.

    Parameters
    ----------
    settings
        Their settings by name.
    keys
        Their keys by name.
    traces
        Store for the traces of requests.
    keep_alive_seconds
        Time without an event after which a stream gets a keep-alive.
    changed
        Called when a request begins or ends, or a list of models changes.
    log
        Logger for upstreams that cannot be used.
    """

    def __init__(
        self,
        settings: Mapping[str, UpstreamSettings],
        keys: Mapping[str, UpstreamKey],
        *,
        traces: TraceStore,
        keep_alive_seconds: float,
        changed: Callable[[], None],
        log: Logger,
    ) -> None:
        self._clients: dict[str, UpstreamClient] = {}
        for name, one in settings.items():
            connection = UpstreamConnection(name, one, keys[name])
            models = UpstreamModels(connection, one, changed, log)
            self._clients[name] = UpstreamClient(
                one, connection, models, traces, keep_alive_seconds, changed
            )

    def __iter__(self) -> Iterator[tuple[str, UpstreamClient]]:
        """Yield the clients of all upstreams by name."""
        return iter(self._clients.items())

    @property
    def names(self) -> list[str]:
        """Names of all upstreams."""
        return list(self._clients)

    # --- models -----------------------------------------------------------------------------------

    def split(self, model: str | None) -> tuple[str, str] | None:
        """Return the upstream of a model, and the model's name there; None for a local model."""
        upstream, separator, name = (model or "").partition(SEPARATOR)
        return (upstream, name) if separator and upstream in self._clients else None

    async def find(self, upstream: str, name: str) -> UpstreamModel | None:
        """Return a model of an upstream, None if it has no such model.

        Raises
        ------
        ApiError
            If the upstream cannot list its models.
        """
        return await self._clients[upstream].models.find(name)

    async def refresh(self) -> None:
        """List the models of all upstreams again, those that answer soon."""
        refreshing = [client.models.refresh(_PATIENCE_SECONDS) for client in self._clients.values()]
        if refreshing:
            await asyncio.gather(*refreshing)

    # --- access -----------------------------------------------------------------------------------

    def settings_of(self, upstream: str) -> UpstreamSettings:
        """Return the settings of an upstream."""
        return self._clients[upstream].settings

    def may_use(self, user: User, upstream: str) -> bool:
        """Whether a user may use an upstream."""
        settings = self._clients[upstream].settings
        if user == LOCAL or not (settings.users or settings.groups):
            return True
        return user.name in settings.users or bool({*settings.groups} & {*user.groups})

    def check_user(self, user: User, upstream: str) -> None:
        """Check that a user may use an upstream.

        Raises
        ------
        Forbidden
            If not.
        """
        if not self.may_use(user, upstream):
            raise Forbidden(
                f"You may not use the models of the upstream {upstream!r}. Its administrator "
                "decides who may (MlxNotebookApp.upstreams: users, groups).",
                param="model",
                code="upstream_not_allowed",
            )

    # --- requests ---------------------------------------------------------------------------------

    def take_parameters(
        self, model: str | None, request: Any, content: bytes | bytearray, *, is_openai: bool
    ) -> Body:
        """Take the parameters out of a request that its upstream gets as they are.

        Parameters
        ----------
        model
            Name of the model.
        request
            The decoded request. Parameters that are taken are None in it after this.
        content
            Its body.
        is_openai
            Whether its parameters mean what they mean in OpenAI's API.
        """
        found = self.split(model)
        if found is None:
            return {}
        return take_parameters(
            self._clients[found[0]].settings, request, content, is_openai=is_openai
        )

    def client(self, upstream: str) -> UpstreamClient:
        """Return the client of an upstream."""
        return self._clients[upstream]

    @property
    def streams(self) -> list[RequestStream]:
        """Requests that run at upstreams."""
        return [stream for client in self._clients.values() for stream in client.streams]

    @property
    def running(self) -> int:
        """Number of requests that run at upstreams."""
        return sum(client.running for client in self._clients.values())

    def cancel(self, id: str, owner: str | None) -> bool:
        """Cancel a request with all its parts. Return whether there was one of this user."""
        found = [client.cancel(id, owner) for client in self._clients.values()]
        return any(found)

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
