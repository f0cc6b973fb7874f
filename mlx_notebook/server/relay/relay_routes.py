"""Map every route to the relay."""

from mlx_notebook.server.api.routes import ROUTES
from mlx_notebook.server.relay.relay_handler import RelayHandler

RELAY_ROUTES = tuple(
    (pattern, RelayHandler, {"tracks_activity": handler._track_activity})
    for pattern, handler in ROUTES
)
