"""Share what all WebSockets need: who may connect, how large messages are, and pings."""

from tornado.websocket import WebSocketHandler

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.http.error_explanations import unauthorized


class WebSocketApiHandler(WebSocketHandler, ApiHandler):
    """Base of the routes that take WebSockets."""

    def check_origin(self, origin: str = "") -> bool:
        """Whether the page that connects may use this server: as for Jupyter's own WebSockets."""
        return bool(ApiHandler.check_origin(self, origin))

    def require_token(self) -> None:
        """Check that this server has a token, without which any program could connect.

        Raises
        ------
        ApiError
            If it has none.
        """
        if not self.identity_provider.auth_enabled:
            raise unauthorized(self)

    @property
    def max_message_size(self) -> int:
        """The largest message, in bytes. A larger one closes the connection (1009)."""
        return self.max_body_bytes

    @property
    def ping_interval(self) -> float:
        """Seconds between pings, so that no proxy closes the connection."""
        return self.services.limits.keep_alive_seconds

    @property
    def ping_timeout(self) -> float:
        """No time: a client that reads slowly may answer late. `ClientConnection` sees the end."""
        return 0
