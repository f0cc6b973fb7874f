"""Find the model that a request names, and download it first if the settings allow that."""

import anyio

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.http.event_stream import EventStreamHandler
from mlx_notebook.server.api.user_rules import begin_request, check_permission
from mlx_notebook.server.errors import ApiError, NotFound
from mlx_notebook.server.identity import owner
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.downloads.downloads import Download
from mlx_notebook.server.models.use.notebook_usage import KERNEL_HEADER


async def find_model(
    handler: ApiHandler, name: str | None, *, use: str | None = None
) -> CatalogEntry:
    """Return the model with a name or alias; None for the default model.

    `use` is that of `Catalog.find`.

    The request counts as one of its user that is in flight. With `auto_download`, download a model
    that is not on this machine. A client that streams gets comments meanwhile.

    Raises
    ------
    ApiError
        If there is no such model, it cannot be downloaded, or the user may not use it or do so many
        requests.
    """
    begin_request(handler)
    entry = await _find_or_download(handler, name, use)
    check_permission(handler, "use", entry.name)
    services = handler.services
    if entry.upstream is not None:
        services.upstreams.check_user(handler.user, entry.upstream)
        return entry
    known = (*services.supervisor.telemetry.resident, *services.engine.wanted)
    if entry.upstream is None and entry.name not in known:
        check_permission(handler, "load", entry.name)
    kernel = handler.request.headers.get(KERNEL_HEADER, "")
    services.notebook_usage.note(kernel, entry.name, await owner(handler))
    return entry


async def _find_or_download(handler: ApiHandler, name: str | None, use: str | None) -> CatalogEntry:
    services = handler.services
    try:
        return await services.catalog.find(name, await handler.settings_user(), use=use)
    except NotFound as error:
        wanted = error.code in ("model_not_found", "model_incomplete")
        if not (wanted and name and services.auto_download):
            raise
        for action in ("use", "download"):
            check_permission(handler, action, services.catalog.canonical(name))
        try:
            download = services.download(name, user=await owner(handler))
        except ApiError:
            raise error from None
    download.detached = True
    if isinstance(handler, EventStreamHandler) and handler.wants_stream:
        await _wait_with_comments(handler, download, services.limits.keep_alive_seconds)
    else:
        await download.wait()
    # Raises the error of the download, if it failed.
    return await services.catalog.find(download.answer.model)


async def _wait_with_comments(
    handler: EventStreamHandler, download: Download, interval: float
) -> None:
    """Wait for a download, and send the client a comment every `interval` seconds."""
    while not download.ended:
        with anyio.move_on_after(interval):
            await download.wait()
            return
        at = download.progress
        share = f" {100 * at.done // at.total} %" if at.total else ""
        await handler.send_comment(f"downloading {download.model}{share}")
