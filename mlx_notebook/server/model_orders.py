"""`mlx/models`: the list of all models, and the orders to load, unload and download one."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.messages import Loaded
from mlx_notebook.server.base import ApiHandler, EventStreamHandler, StreamClosedError
from mlx_notebook.server.catalog import Entry
from mlx_notebook.server.downloads import Download
from mlx_notebook.server.errors import ApiError, NotFound
from mlx_notebook.server.model_list import listed
from mlx_notebook.server.wire import models as wire


class CatalogHandler(ApiHandler):
    """All models, also those that could be downloaded."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List them."""
        self.answer(await listed(self.extension))


class LoadHandler(EventStreamHandler):
    """Brings a model into memory."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Load it and answer when it is there; an order once given is carried out."""
        order = self.decoded(wire.LOAD_DECODER)
        entry = await self.extension.catalog.find(order.model)
        supervisor = self.extension.supervisor
        with self.while_connected():
            if order.stream:
                await self._stream(entry)
            else:
                loaded = await supervisor.load(entry.name, str(entry.path), entry.options)
                self.answer(wire.LoadedModel(*_figures(loaded)))
        if self.client_left:
            self.note_client_left()

    async def _stream(self, entry: Entry) -> None:
        self.open_stream()
        supervisor = self.extension.supervisor
        try:
            await self.send_event(wire.LoadingEvent(entry.name, 0, None, None))
            async with supervisor.loading(entry.name, str(entry.path), entry.options) as stream:
                async for events in stream.batches():
                    for event in events:
                        if isinstance(event, Loaded):
                            await self.send_event(wire.LoadedEvent(*_figures(event)))
                        else:
                            await self.send_event(wire.LoadingEvent(entry.name, 0, None, None))
            self.close_stream()
        except ApiError as error:
            await self.send(self.error_event(error))
            self.close_stream()
        except StreamClosedError:
            self.client_left = True


def _figures(loaded: Loaded) -> tuple[str, int, int, float]:
    resident = loaded.resident
    return resident.model, resident.bytes, resident.context_length, round(loaded.seconds, 3)


class UnloadHandler(ApiHandler):
    """Gives a model's memory back."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Unload it."""
        order = self.decoded(wire.UNLOAD_DECODER)
        entry = await self.extension.catalog.find(order.model)
        freed = await self.extension.supervisor.unload(entry.name)
        self.answer(wire.UnloadedModel(entry.name, freed))


class DownloadHandler(EventStreamHandler):
    """Brings a model from Hugging Face onto this machine."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Download it and answer when it is there.

        An order is carried out whether or not its client waits; one that is streamed is broken
        off when its client leaves.
        """
        order = self.decoded(wire.DOWNLOAD_DECODER)
        await self.extension.catalog.default()
        download = self.extension.download(order.model, order.revision)
        with self.while_connected():
            if order.stream:
                await self._stream(download)
            else:
                download.ordered = True
                async for _ in download.changes():
                    pass
                self.answer(download.answer)
        if self.client_left:
            self.note_client_left()

    async def _stream(self, download: Download) -> None:
        self.open_stream()
        try:
            with download.watched():
                async for at in download.changes():
                    await self.send_event(
                        wire.DownloadingEvent(download.model, at.done, at.total, at.seconds_left)
                    )
            answer = download.answer
            await self.send_event(
                wire.DownloadedEvent(*(getattr(answer, name) for name in answer.__struct_fields__))
            )
            self.close_stream()
        except ApiError as error:
            await self.send(self.error_event(error))
            self.close_stream()
        except StreamClosedError:
            self.client_left = True


class CancelModelHandler(ApiHandler):
    """Breaks off a download or a load."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Break it off; what was downloaded is kept."""
        order = self.decoded(wire.CANCEL_DECODER)
        name = self.extension.catalog.canonical(order.model)
        if self.extension.downloads.cancel(name):
            self.answer(wire.CancelledModel(name, "downloading"))
        elif self.extension.supervisor.cancel_load(name):
            self.answer(wire.CancelledModel(name, "loading"))
        else:
            raise NotFound(
                f"The model {name[:200]!r} is neither being downloaded nor loaded.",
                param="model",
                code="nothing_to_cancel",
            )
