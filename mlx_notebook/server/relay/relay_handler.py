"""Answer all routes of a notebook server by the service, streams included."""

from typing import Any, cast

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.http1connection import HTTP1Connection

from mlx_notebook.server import errors
from mlx_notebook.server.api.anthropic.messages import anthropic_error
from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.lmstudio.lmstudio_handler import lmstudio_error
from mlx_notebook.server.api.ollama.ollama_handler import ollama_error
from mlx_notebook.server.relay.service_client import ServiceClient, answered_headers
from mlx_notebook.server.wire.ids import new_id

_EVENTS = "text/event-stream"
_LINES = "application/x-ndjson"


class RelayHandler(ApiHandler):
    """Pass a request on with the token of this server's user, and its response back.

    This server checks who sends the request, and the limits of its body. The service checks all
    else.
    """

    def initialize(self, tracks_activity: bool = True) -> None:
        """Initialize the state of a request.

        Parameters
        ----------
        tracks_activity
            Whether a request to this route shows that somebody uses this server.
        """
        super().initialize()
        self._track_activity = tracks_activity
        self._content_type = "application/json"

    @web.authenticated
    @authorized
    async def get(self, *args: str) -> None:
        """Pass the request on."""
        await self._relay()

    @web.authenticated
    @authorized
    async def post(self, *args: str) -> None:
        """Pass the request on."""
        await self._relay()

    @web.authenticated
    @authorized
    async def put(self, *args: str) -> None:
        """Pass the request on."""
        await self._relay()

    @web.authenticated
    @authorized
    async def patch(self, *args: str) -> None:
        """Pass the request on."""
        await self._relay()

    @web.authenticated
    @authorized
    async def delete(self, *args: str) -> None:
        """Pass the request on."""
        await self._relay()

    @property
    def _service(self) -> ServiceClient:
        return cast(ServiceClient, self.settings["mlx_notebook"].relay)

    @property
    def _path(self) -> str:
        return self.request.path.removeprefix(self.base_url)

    def encoded_error(self, error: errors.ApiError) -> bytes:
        """Return an error as JSON, in the format of the API that the route belongs to."""
        if self._path.startswith("v1/messages"):
            return anthropic_error(error, new_id("req_"))
        if self._path.startswith("mlx/ollama/"):
            return ollama_error(error)
        if self._path.startswith("mlx/lmstudio/api/v1"):
            return lmstudio_error(error)
        return super().encoded_error(error)

    @ends_with_client
    async def _relay(self) -> None:
        self._service.running += self._track_activity
        try:
            await self._pass_on()
        except errors.Unavailable as error:
            if not self._headers_written:
                raise
            self._break_off(error)
        finally:
            self._service.running -= self._track_activity

    async def _pass_on(self) -> None:
        async with self._service.send(
            self.request.method or "GET",
            self._path,
            self.request.query,
            self.request.headers.get_all(),
            bytes(self.body.content),
        ) as response:
            self.body.clear()
            self.set_status(response.status_code, response.reason_phrase or None)
            for name, value in answered_headers(response):
                self.set_header(name, value)
            self._content_type = response.headers.get("content-type", self._content_type)
            connection = self.request.connection
            if isinstance(connection, HTTP1Connection):
                # Send each token at once, and not when a packet is full.
                connection.stream.set_nodelay(True)
            async for piece in response.aiter_raw():
                self.write(piece)
                await self.flush()
        self.finish(set_content_type=self._content_type)

    def _break_off(self, error: errors.ApiError) -> None:
        """End a response that has begun, so that its client notices that it is not complete."""
        if self._content_type.startswith(_EVENTS):
            self.write(b"event: error\ndata: %b\n\n" % self.encoded_error(error))
            self.finish(set_content_type=self._content_type)
            return
        if self._content_type.startswith(_LINES):
            self.write(self.encoded_error(error) + b"\n")
            self.finish(set_content_type=self._content_type)
            return
        self.log.warning("%s", error.message)
        if self.request.connection is not None:
            cast(Any, self.request.connection).stream.close()
