"""Handle Ollama's routes about models: lists, descriptions, downloads, and what is not there."""

import hashlib
import time
from typing import Any, ClassVar

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import __version__
from mlx_notebook.protocol import Resident
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.ollama.ollama_handler import OllamaHandler, OllamaStreamHandler
from mlx_notebook.server.api.user_rules import check_permission, may_use
from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.identity import owner
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.downloads.downloads import Download
from mlx_notebook.server.models.settings.model_settings import ModelSettings
from mlx_notebook.server.upstreams.upstream_settings import SEPARATOR
from mlx_notebook.server.wire.ollama import ollama_model_types as wire
from mlx_notebook.server.wire.ollama.ollama_responses import line, moment

_CAPABILITIES = {"tools": "tools", "vision": "vision", "reasoning": "thinking", "fim": "insert"}
# Ollama's names of the settings that it has too.
_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
}
# The time of a model that is never unloaded.
_FOR_EVER = 100 * 365 * 24 * 3600.0


class OllamaVersionHandler(OllamaHandler):
    """Tell the version of the API."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with it."""
        server = f"mlx-notebook {__version__}"
        self.answer(wire.OllamaVersion(wire.OLLAMA_API_VERSION, server))


class OllamaTagsHandler(OllamaHandler):
    """List the models that the user may use."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with them."""
        entries = await self.services.catalog.entries(await self.settings_user())
        self.answer(
            wire.OllamaModelList([listed(entry) for entry in entries if may_use(self, entry)])
        )


class OllamaRunningHandler(OllamaHandler):
    """List the models in memory."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with those that the user may use."""
        resident = self.services.supervisor.telemetry.resident
        entries = await self.services.catalog.entries(await self.settings_user())
        self.answer(
            wire.OllamaModelList(
                [
                    self._running(entry, resident[entry.name])
                    for entry in entries
                    if entry.name in resident and may_use(self, entry)
                ]
            )
        )

    def _running(self, entry: CatalogEntry, resident: Resident) -> wire.OllamaModel:
        idle = self.services.idle_unload_seconds
        stays = _FOR_EVER if resident.pinned or not idle else idle
        kept = min(_FOR_EVER, self.services.keep_times.left(entry.name))
        model = listed(entry)
        model.size = model.size_vram = resident.bytes
        model.context_length = resident.context_length
        model.expires_at = moment(time.time() + max(stays, kept))
        return model


class OllamaShowHandler(OllamaHandler):
    """Describe a model."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answer with its description."""
        request = self.decoded(wire.SHOW_DECODER)
        name = await self.known_name(request.wanted)
        entry = await self.services.catalog.find(name, await self.settings_user())
        if entry.upstream is not None:
            self.services.upstreams.check_user(self.user, entry.upstream)
        check_permission(self, "use", entry.name)
        settings = self.services.model_settings.of(entry.settings_name, await self.settings_user())
        self.answer(described(entry, settings))


class OllamaPullHandler(OllamaStreamHandler):
    """Download a model from Hugging Face."""

    def empty_line(self, text: str) -> bytes:
        """Return a status without progress."""
        return line(wire.OllamaProgress(text))

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Download it, and answer with the progress, or with the end if `stream` is false.

        A model that is here is not downloaded again. If the client leaves, a streamed download is
        cancelled, and any other goes on.
        """
        request = self.decoded(wire.PULL_DECODER)
        request.check()
        self.wants_stream = request.stream is not False
        name = await self.known_name(request.wanted)
        model = self.services.catalog.canonical(name)
        try:
            await self.services.catalog.find(name, await self.settings_user())
        except NotFound as error:
            if error.code not in ("model_not_found", "model_incomplete"):
                raise
        else:
            check_permission(self, "use", model)
            await self._finish()
            return
        check_permission(self, "download", model)
        self.check_download(model)
        user = await owner(self)
        download = self.services.download(name, None, user)
        if self.wants_stream:
            await self._stream(download, user)
        else:
            download.detached = True
            await download.wait()
            _ = download.answer
            await self._finish()

    async def _stream(self, download: Download, user: str) -> None:
        digest = _digest(download.model)
        async with self.event_stream():
            await self.send(line(wire.OllamaProgress("pulling manifest")))
            with download.watched(user):
                async for at in download.changes():
                    status = wire.OllamaProgress(f"pulling {download.model}", digest)
                    if at.total is not None:
                        status.total, status.completed = at.total, at.done
                    await self.send(line(status))
            _ = download.answer
            await self.send(line(wire.OllamaProgress("success")))

    async def _finish(self) -> None:
        success = wire.OllamaProgress("success")
        if self.wants_stream:
            async with self.event_stream():
                await self.send(line(success))
        else:
            self.answer(success)


class OllamaRefusedHandler(OllamaHandler):
    """Refuse what this server does not do."""

    instead: ClassVar[str] = ""

    @web.authenticated
    @authorized
    async def post(self, *args: str) -> None:
        """Refuse it."""
        raise self._refused()

    @web.authenticated
    @authorized
    async def delete(self, *args: str) -> None:
        """Refuse it."""
        raise self._refused()

    @web.authenticated
    @authorized
    async def head(self, *args: str) -> None:
        """Refuse it."""
        raise self._refused()

    def _refused(self) -> InvalidRequest:
        return InvalidRequest(self.instead)


class OllamaCreateHandler(OllamaRefusedHandler):
    """Refuse to make a model."""

    instead = (
        "This server makes no models from Modelfiles. Set what a Modelfile sets with "
        "MlxNotebookApp.model_settings, or send it with each request."
    )


class OllamaCopyHandler(OllamaRefusedHandler):
    """Refuse to copy a model."""

    instead = (
        "This server copies no models. Give a model another name with MlxNotebookApp.model_aliases."
    )


class OllamaDeleteHandler(OllamaRefusedHandler):
    """Refuse to delete a model."""

    instead = (
        "This server deletes no models. Delete the model's folder, or use `hf cache` for one of "
        "Hugging Face."
    )


class OllamaPushHandler(OllamaRefusedHandler):
    """Refuse to publish a model."""

    instead = "This server publishes no models. `hf upload` does."


class OllamaBlobsHandler(OllamaRefusedHandler):
    """Refuse the file of a model."""

    instead = (
        "This server takes no files of models. Put them into a folder of "
        "MlxNotebookApp.models_dirs."
    )


def listed(entry: CatalogEntry) -> wire.OllamaModel:
    """Return a model as Ollama lists it."""
    facts = entry.facts
    model = wire.OllamaModel(
        name=entry.name,
        model=entry.name,
        size=facts.bytes_on_disk,
        digest=_digest(entry.name, facts.created, facts.bytes_on_disk),
        details=_details(entry),
        modified_at=moment(facts.created),
        capabilities=_capabilities(entry),
    )
    if entry.upstream is not None:
        model.remote_model = entry.name.partition(SEPARATOR)[2]
        model.remote_host = entry.upstream
    return model


def described(entry: CatalogEntry, settings: ModelSettings) -> wire.OllamaShow:
    """Return a model as Ollama shows it, with the settings that are in force."""
    facts = entry.facts
    family = facts.architecture or ""
    info: dict[str, Any] = {
        "general.architecture": family,
        "general.basename": entry.name,
        "general.parameter_count": facts.parameters,
    }
    if entry.context_window is not None:
        info[f"{family}.context_length"] = entry.context_window
    known = {**facts.sampling_defaults, **settings.as_dict()}
    parameters = [
        f"{theirs:<30} {known[ours]:g}" for ours, theirs in _PARAMETERS.items() if ours in known
    ]
    show = wire.OllamaShow(
        modelfile=f"FROM {entry.name}\n",
        parameters="\n".join(parameters),
        template="",
        details=_details(entry),
        model_info=info,
        capabilities=_capabilities(entry),
        modified_at=moment(facts.created),
    )
    if system := known.get("system"):
        show.system = str(system)
    return show


def _details(entry: CatalogEntry) -> wire.OllamaModelDetails:
    facts = entry.facts
    family = facts.architecture or ""
    form = "gguf" if entry.path.suffix == ".gguf" else "safetensors"
    return wire.OllamaModelDetails(
        format="" if entry.upstream else form,
        family=family,
        families=[family] if family else None,
        parameter_size="" if entry.upstream else wire.parameter_size(facts.parameters),
        quantization_level=facts.quantization or "",
    )


def _capabilities(entry: CatalogEntry) -> list[str]:
    if entry.is_embedding_model:
        return ["embedding"]
    known = entry.capabilities(None)
    first = ["completion"] if entry.generates_text else []
    return [*first, *(theirs for ours, theirs in _CAPABILITIES.items() if ours in known)]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
