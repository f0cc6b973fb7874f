"""`mlx/models`: the list of all models, and the orders to load, unload and download one."""

import asyncio

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import Loaded
from mlx_notebook.server.api.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.event_stream import EventStreamHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.native.catalog_list import listed, load_progress
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import InvalidRequest, NotFound, model_not_found
from mlx_notebook.server.identity import owner
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.downloads import Download
from mlx_notebook.server.models.model_settings import ModelSettings
from mlx_notebook.server.models.notebook_usage import KERNEL_HEADER
from mlx_notebook.server.wire.native import model_types as wire

_PROGRESS_SECONDS = 0.25


class CatalogHandler(ApiHandler):
    """All models, also those that could be downloaded."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List them."""
        self.answer(await listed(self.services))


class LoadHandler(EventStreamHandler):
    """Brings a model into memory."""

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Load it and answer when it is there.

        An order is carried out whether or not its client waits; one that is streamed is broken off
        with its client.
        """
        order = self.decoded(wire.LOAD_DECODER)
        await self.services.catalog.default()
        name = self.services.catalog.canonical(order.model)
        entry = await find_model(self, f"{name}+{order.adapter}" if order.adapter else name)
        if order.stream:
            await self._stream(entry, order.pin)
        else:
            loaded = await self.services.engine.load(
                entry.name, str(entry.path), entry.options, await owner(self), order.pin
            )
            self.answer(wire.LoadedModel(*_figures(loaded)))

    async def _stream(self, entry: CatalogEntry, pin: bool | None) -> None:
        engine, user = self.services.engine, await owner(self)
        path = str(entry.path)
        async with self.event_stream():
            await self._send_progress(entry)
            async with engine.loading(entry.name, path, entry.options, user, pin) as stream:
                loaded = asyncio.create_task(_loaded(stream))
                try:
                    while not (await asyncio.wait({loaded}, timeout=_PROGRESS_SECONDS))[0]:
                        await self._send_progress(entry)
                finally:
                    loaded.cancel()
                await self.send_event(wire.LoadedEvent(*_figures(loaded.result())))

    async def _send_progress(self, entry: CatalogEntry) -> None:
        at = load_progress(self.services, entry)
        await self.send_event(wire.LoadingEvent(entry.name, at.done, at.total, None))


async def _loaded(stream: RequestStream) -> Loaded:
    async for events in stream.batches():
        for event in events:
            if isinstance(event, Loaded):
                return event
    raise RuntimeError("the engine did not answer with Loaded")


def _figures(loaded: Loaded) -> tuple[str, int, int, float]:
    resident = loaded.resident
    return resident.model, resident.bytes, resident.context_length, round(loaded.seconds, 3)


async def _known(handler: ApiHandler, name: str) -> str:
    """Return a model's own name; of one in memory whatever has become of its files.

    Raises:
        ApiError: There is no such model.
    """
    catalog, stats = handler.services.catalog, handler.services.supervisor.telemetry.stats
    await catalog.default()
    model = catalog.canonical(name)
    resident = stats is not None and any(model == one.model for one in stats.resident)
    if resident or catalog.source_of(model) is not None:
        return model
    return (await catalog.find(name)).name


class UnloadHandler(ApiHandler):
    """Gives a model's memory back."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Unload it."""
        order = self.decoded(wire.UNLOAD_DECODER)
        model = await _known(self, order.model)
        freed = await self.services.engine.unload(model)
        self.answer(wire.UnloadedModel(model, freed))


class DownloadHandler(EventStreamHandler):
    """Brings a model from Hugging Face onto this machine."""

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Download it and answer when it is there.

        An order is carried out whether or not its client waits; one that is streamed is broken
        off when its client leaves.
        """
        order = self.decoded(wire.DOWNLOAD_DECODER)
        await self.services.catalog.default()
        download = self.services.download(order.model, order.revision)
        if order.stream:
            await self._stream(download)
        else:
            download.detached = True
            async for _ in download.changes():
                pass
            self.answer(download.answer)

    async def _stream(self, download: Download) -> None:
        async with self.event_stream():
            with download.watched():
                async for at in download.changes():
                    await self.send_event(
                        wire.DownloadingEvent(download.model, at.done, at.total, at.seconds_left)
                    )
            answer = download.answer
            await self.send_event(
                wire.DownloadedEvent(*(getattr(answer, name) for name in answer.__struct_fields__))
            )


class CancelModelHandler(ApiHandler):
    """Breaks off a download or a load."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Break it off, and end the requests that wait for it; what was downloaded is kept."""
        order = self.decoded(wire.CANCEL_DECODER)
        name = self.services.catalog.canonical(order.model)
        if self.services.downloads.cancel(name):
            self.answer(wire.CancelledModel(name, "downloading"))
        elif self.services.engine.cancel_load(name, await self.whose()):
            self.answer(wire.CancelledModel(name, "loading"))
        else:
            raise NotFound(
                f"The model {name[:200]!r} is neither being downloaded nor loaded.",
                param="model",
                code="nothing_to_cancel",
            )


class PinHandler(ApiHandler):
    """Keeps a model in memory."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Pin a model that is in memory, or let it go again."""
        order = self.decoded(wire.PIN_DECODER)
        model = await _known(self, order.model)
        pinned = await self.services.engine.pin(model, order.pinned)
        self.answer(wire.PinnedModel(model, pinned.pinned))


class KeepHandler(ApiHandler):
    """Tells that a notebook is still open."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Count the models that this kernel has used lately as used now.

        The answer names them and says when to ask again; with none it is not worth asking.
        """
        services = self.services
        idle = services.idle_unload_seconds
        kernel = self.request.headers.get(KERNEL_HEADER, "")
        models = services.notebook_usage.models(kernel) if idle else []
        for model in models:
            services.engine.keep(model)
        self.answer(wire.KeptModels(models, idle / 3))


class SettingsHandler(ApiHandler):
    """The settings of one model."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Show them."""
        await self._show(await self._model(name))

    @web.authenticated
    @authorized
    async def put(self, name: str) -> None:
        """Keep the given ones, in place of those that were saved before.

        They hold from the next request on; where one about loading has changed, that request loads
        the model anew.
        """
        model = await self._model(name)
        settings = self.decoded(_SETTINGS_DECODER)
        if settings.trust_remote_code:
            raise InvalidRequest(
                "'trust_remote_code' can only be set in the server's configuration "
                "(MlxNotebookApp.model_settings): it lets code run on this machine.",
                param="trust_remote_code",
                code="setting_not_allowed",
            )
        catalog, store = self.services.catalog, self.services.model_settings
        user = await self.settings_user()
        before = store.saved(model, user)
        await store.save(model, settings, user)
        await catalog.refresh()
        if (fault := catalog.fault(model)) is not None:
            await store.save(model, before, user)
            await catalog.refresh()
            raise InvalidRequest(f"The settings are not usable: {fault}.", code="invalid_value")
        await self._show(model)

    async def _model(self, name: str) -> str:
        """Return the model's own name. Raises `NotFound` where it is none of this machine's."""
        catalog = self.services.catalog
        entries = {entry.name for entry in await catalog.everything()}
        model = catalog.canonical(name)
        if model not in entries or "+" in model:
            raise model_not_found(model, catalog.names)
        return model

    async def _show(self, model: str) -> None:
        store = self.services.model_settings
        stats = self.services.supervisor.telemetry.stats
        residents = {resident.model: resident for resident in stats.resident} if stats else {}
        # The model itself, and with each adapter.
        reloads = any(
            entry.is_outdated(residents[entry.name])
            for entry in await self.services.catalog.everything()
            if entry.name in residents and entry.name.partition("+")[0] == model
        )
        user = await self.settings_user()
        settings, saved = store.of(model, user).as_dict(), store.saved(model, user).as_dict()
        self.answer(wire.SettingsResponse(model, settings, saved, reloads))


_SETTINGS_DECODER = msgspec.json.Decoder(ModelSettings)
