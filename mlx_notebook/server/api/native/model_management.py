"""Handle `mlx/models`: list, load, unload, download, cancel, pin, keep, and model settings."""

import asyncio

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import Load, Loaded
from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.http.event_stream import EventStreamHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.native.catalog_list import catalog_list, load_progress
from mlx_notebook.server.api.user_rules import check_permission, may_evict
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.identity import owner
from mlx_notebook.server.model_errors import model_is_upstream, model_not_found
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.downloads.downloads import Download
from mlx_notebook.server.models.settings.model_settings import ModelSettings
from mlx_notebook.server.models.use.notebook_usage import KERNEL_HEADER
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.native import model_types as wire

_PROGRESS_SECONDS = 0.25


class CatalogHandler(ApiHandler):
    """List all models."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with all models, including those that can be downloaded."""
        settings_user = await self.settings_user()
        self.answer(await catalog_list(self.services, self.user, settings_user))


class LoadHandler(EventStreamHandler):
    """Load a model into memory."""

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Load it, and answer when it is loaded, or with a stream of progress events.

        If the client leaves, a streamed load is cancelled, and any other goes on.
        """
        request = self.decoded(wire.LOAD_DECODER)
        await self.services.catalog.default()
        name = self.services.catalog.canonical(request.model)
        entry = await find_model(self, f"{name}+{request.adapter}" if request.adapter else name)
        if entry.upstream is not None:
            raise model_is_upstream(entry.name, "There is nothing to load")
        if request.pin is not None:
            check_permission(self, "pin", entry.name)
        command = Load(
            id=new_id("load-"),
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            pin=request.pin,
            user=self.user.name,
            evict=may_evict(self, entry.name),
        )
        if request.stream:
            await self._stream(entry, command)
        else:
            loaded = await self.services.engine.load(command, await owner(self))
            self.answer(wire.LoadedModel(*_loaded_fields(loaded)))

    async def _stream(self, entry: CatalogEntry, command: Load) -> None:
        user = await owner(self)
        async with self.event_stream():
            await self._send_progress(entry)
            async with self.services.engine.loading(command, user) as stream:
                loaded = asyncio.create_task(_wait_for_loaded(stream))
                try:
                    while not (await asyncio.wait({loaded}, timeout=_PROGRESS_SECONDS))[0]:
                        await self._send_progress(entry)
                finally:
                    loaded.cancel()
                await self.send_event(wire.LoadedEvent(*_loaded_fields(loaded.result())))

    async def _send_progress(self, entry: CatalogEntry) -> None:
        at = load_progress(self.services, entry)
        await self.send_event(wire.LoadingEvent(entry.name, at.done, at.total, None))


async def _wait_for_loaded(stream: RequestStream) -> Loaded:
    async for events in stream.batches():
        for event in events:
            if isinstance(event, Loaded):
                return event
    raise RuntimeError("the engine did not answer with Loaded")


def _loaded_fields(loaded: Loaded) -> tuple[str, int, int, float]:
    resident = loaded.resident
    return resident.model, resident.bytes, resident.context_length, round(loaded.seconds, 3)


async def local_name(handler: ApiHandler, name: str) -> str:
    """Return the name of a model that is resident or on this machine.

    Raises
    ------
    ApiError
        If there is no such model.
    """
    catalog, telemetry = handler.services.catalog, handler.services.supervisor.telemetry
    await catalog.default()
    model = catalog.canonical(name)
    if catalog.source_of(model) == "upstream":
        raise model_is_upstream(model, "It takes no memory here")
    if model in telemetry.resident or catalog.source_of(model) is not None:
        return model
    return (await catalog.find(name, await handler.settings_user())).name


class UnloadHandler(ApiHandler):
    """Unload a model from memory."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Unload it, and answer with the freed bytes."""
        request = self.decoded(wire.UNLOAD_DECODER)
        model = await local_name(self, request.model)
        check_permission(self, "unload", model)
        freed = await self.services.engine.unload(model)
        self.answer(wire.UnloadedModel(model, freed))


class DownloadHandler(EventStreamHandler):
    """Download a model from Hugging Face."""

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Download it, and answer when it is complete, or with a stream of progress events.

        If the client leaves, a streamed download is cancelled, and any other goes on.
        """
        request = self.decoded(wire.DOWNLOAD_DECODER)
        await self.services.catalog.default()
        check_permission(self, "download", self.services.catalog.canonical(request.model))
        user = await owner(self)
        download = self.services.download(request.model, request.revision, user)
        if request.stream:
            await self._stream(download, user)
        else:
            download.detached = True
            async for _ in download.changes():
                pass
            self.answer(download.answer)

    async def _stream(self, download: Download, user: str) -> None:
        async with self.event_stream():
            with download.watched(user):
                async for at in download.changes():
                    await self.send_event(
                        wire.DownloadingEvent(download.model, at.done, at.total, at.seconds_left)
                    )
            answer = download.answer
            await self.send_event(
                wire.DownloadedEvent(*(getattr(answer, name) for name in answer.__struct_fields__))
            )


class CancelModelHandler(ApiHandler):
    """Cancel a download or a load."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Cancel it, and the requests that wait for it. Keep what has been downloaded."""
        request = self.decoded(wire.CANCEL_DECODER)
        name = self.services.catalog.canonical(request.model)
        user = await self.visible_owner()
        if self.services.downloads.cancel(name, user):
            self.answer(wire.CancelledModel(name, "downloading"))
        elif self.services.engine.cancel_load(name, user):
            self.answer(wire.CancelledModel(name, "loading"))
        else:
            raise NotFound(
                f"The model {name[:200]!r} is neither being downloaded nor loaded.",
                param="model",
                code="nothing_to_cancel",
            )


class PinHandler(ApiHandler):
    """Pin a model in memory."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Pin or unpin a resident model."""
        request = self.decoded(wire.PIN_DECODER)
        model = await local_name(self, request.model)
        check_permission(self, "pin", model)
        pinned = await self.services.engine.pin(model, request.pinned)
        self.answer(wire.PinnedModel(model, pinned.pinned))


class KeepHandler(ApiHandler):
    """Keep the models of an open notebook in memory."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Count the models that this kernel has used recently as used now.

        The response names them and says when to call again. If it names none, there is no need to.
        """
        services = self.services
        idle = services.idle_unload_seconds
        kernel = self.request.headers.get(KERNEL_HEADER, "")
        models = services.notebook_usage.models(kernel, await owner(self)) if idle else []
        for model in models:
            services.engine.keep(model)
        self.answer(wire.KeptModels(models, idle / 3))


class SettingsHandler(ApiHandler):
    """Show and save the settings of a model."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer with the settings."""
        await self._show(await self._model(name))

    @web.authenticated
    @authorized
    async def put(self, name: str) -> None:
        """Save settings, in place of those that were saved before.

        They apply from the next request on. If a setting about loading has changed, that request
        reloads the model.
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
        user, admin = await self.settings_user(), self.user.admin
        before = store.saved(model, user, admin=admin)
        await store.save(model, settings, user, admin=admin)
        await catalog.refresh()
        if (fault := catalog.fault(model)) is not None:
            await store.save(model, before, user, admin=admin)
            await catalog.refresh()
            raise InvalidRequest(f"The settings are not usable: {fault}.", code="invalid_value")
        await self._show(model)

    async def _model(self, name: str) -> str:
        """Return the name of a model on this machine.

        Raises
        ------
        NotFound
            If there is none with this name or alias.
        """
        catalog = self.services.catalog
        entries = {entry.name for entry in await catalog.all_entries()}
        model = catalog.canonical(name)
        if model not in entries or ("+" in model and catalog.source_of(model) != "upstream"):
            raise model_not_found(model, catalog.names)
        return model

    async def _show(self, model: str) -> None:
        store = self.services.model_settings
        residents = self.services.supervisor.telemetry.resident
        # Check the model itself, and the model with each adapter.
        reloads = any(
            entry.is_outdated(residents[entry.name])
            for entry in await self.services.catalog.all_entries()
            if entry.name in residents and entry.name.partition("+")[0] == model
        )
        user = await self.settings_user()
        saved = store.saved(model, user, admin=self.user.admin).as_dict()
        settings = store.of(model, user).as_dict()
        self.answer(wire.SettingsResponse(model, settings, saved, reloads))


_SETTINGS_DECODER = msgspec.json.Decoder(ModelSettings)
