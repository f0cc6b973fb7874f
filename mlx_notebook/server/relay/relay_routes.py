"""Map the routes to the relay, except those whose data stay on this server."""

from mlx_notebook.server.api.native.conversations import (
    ConversationHandler,
    ConversationsHandler,
)
from mlx_notebook.server.api.routing.routes import ROUTES, SOCKETS
from mlx_notebook.server.relay.relay_handler import RelayHandler
from mlx_notebook.server.relay.relay_socket import RelaySocketHandler

# The notebooks are here, and so is what is said about them.
_OWN = (ConversationsHandler, ConversationHandler)

RELAY_ROUTES = tuple(
    (pattern, handler)
    if handler in _OWN
    else (pattern, RelayHandler, {"tracks_activity": handler._track_activity})
    for pattern, handler in ROUTES
)

RELAY_SOCKETS = tuple((pattern, RelaySocketHandler) for pattern, _ in SOCKETS)
