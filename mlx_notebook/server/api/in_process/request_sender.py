"""Name the user of a request, for requests that this server sends to itself for them."""

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.batches.batch_record import Sender
from mlx_notebook.server.identity import owner


async def sender_of(handler: ApiHandler) -> Sender:
    """Return the user of a request, with the rights that they have now."""
    username = str(getattr(handler.current_user, "username", ""))
    return Sender(
        await owner(handler), username, handler.user, tuple(handler.report.context.items())
    )
