"""Pass a WebSocket on to the service: the messages of its client, and the service's frames."""

import asyncio
from typing import Any, cast

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from mlx_notebook.server.api.http.web_socket import WebSocketApiHandler
from mlx_notebook.server.relay.service_client import ServiceClient


class RelaySocketHandler(WebSocketApiHandler):
    """Connect to the service with the token of this server's user, for a client that connects here.

    This server checks who connects, and how large a message is. The service checks all else.
    """

    @web.authenticated
    @authorized(action="write")  # type: ignore[untyped-decorator]
    async def get(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> None:
        """Connect to the service first, since it may refuse."""
        self.require_token()
        service = cast(ServiceClient, self.settings["mlx_notebook"].relay)
        request = self.request
        path, headers = request.path.removeprefix(self.base_url), request.headers.get_all()
        try:
            self._upstream: WebSocketClientConnection = await service.connect(
                path, request.query, headers, self.max_body_bytes
            )
        except HTTPClientError as error:
            refusal = cast(HTTPResponse, error.response)
            self.set_status(error.code)
            if (seconds := refusal.headers.get("Retry-After")) is not None:
                self.set_header("Retry-After", seconds)
            self.finish(refusal.body)
            return
        self._frames = asyncio.create_task(self._pass_frames())
        try:
            await super().get(*args, **kwargs)
        finally:
            self._frames.cancel()
            self._upstream.close()

    async def on_message(self, message: str | bytes) -> None:
        """Pass a message on."""
        self.update_api_activity()
        try:
            await self._upstream.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError:
            self.close()

    async def _pass_frames(self) -> None:
        await self._opened.wait()
        try:
            while (frame := await self._upstream.read_message()) is not None:
                await self.write_message(frame, binary=isinstance(frame, bytes))
        except WebSocketClosedError:
            return
        self.close(self._upstream.close_code, self._upstream.close_reason)

    def initialize(self) -> None:
        """Initialize the state of a connection."""
        super().initialize()
        self._opened = asyncio.Event()

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to pass the service's frames on."""
        self.set_nodelay(True)
        self._opened.set()
