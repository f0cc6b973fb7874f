"""Finding the model that a request names, and downloading it first where that is allowed."""

import anyio

from mlx_notebook.server.api.base import ApiHandler
from mlx_notebook.server.api.event_stream import EventStreamHandler
from mlx_notebook.server.errors import ApiError, NotFound
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.downloads import Download
from mlx_notebook.server.models.notebook_usage import KERNEL_HEADER


async def find_model(handler: ApiHandler, name: str | None) -> CatalogEntry:
    """Return the model of that name or alias, or the default one.

    Where `auto_download` is on, a model that is not here is downloaded; a client that streams
    sees comments meanwhile.

    Raises:
        ApiError: There is no such model, or it could not be downloaded.
    """
    entry = await _found(handler, name)
    kernel = handler.request.headers.get(KERNEL_HEADER, "")
    handler.services.notebook_usage.note(kernel, entry.name)
    return entry


async def _found(handler: ApiHandler, name: str | None) -> CatalogEntry:
    services = handler.services
    try:
        return await services.catalog.find(name)
    except NotFound as error:
        wanted = error.code in ("model_not_found", "model_incomplete")
        if not (wanted and name and services.auto_download):
            raise
        try:
            download = services.download(name)
        except ApiError:
            raise error from None
    download.detached = True
    if isinstance(handler, EventStreamHandler) and handler.wants_stream:
        await _commented(handler, download, services.limits.keep_alive_seconds)
    else:
        await download.wait()
    # What has come, if it has.
    return await services.catalog.find(download.answer.model)


async def _commented(handler: EventStreamHandler, download: Download, interval: float) -> None:
    """Wait for a download, with a comment to the client every so many seconds."""
    while not download.ended:
        with anyio.move_on_after(interval):
            await download.wait()
            return
        at = download.progress
        share = f" {100 * at.done // at.total} %" if at.total else ""
        await handler.send_comment(f"downloading {download.model}{share}")
