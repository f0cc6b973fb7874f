"""Share what Ollama's routes need: its errors, its streams, its names, its way in."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from mlx_notebook.protocol import Load
from mlx_notebook.server.api.generation import GenerationHandler
from mlx_notebook.server.api.http.unknown_route import UnknownRouteHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.native.model_management import local_name
from mlx_notebook.server.api.ollama.local_programs import is_of_local_program
from mlx_notebook.server.api.user_rules import check_permission, may_evict
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.identity import has_one_token, owner
from mlx_notebook.server.model_errors import model_is_upstream
from mlx_notebook.server.users.user_limits import Action
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.ollama.ollama_responses import OllamaErrorBody

_LATEST = ":latest"


def ollama_error(error: ApiError) -> bytes:
    """Return an error in Ollama's format, as JSON."""
    message = error.message
    if error.code == "invalid_api_key":
        message = message.replace("api_key=... in OpenAI's client", "OLLAMA_API_KEY=<token>")
    return msgspec.json.encode(OllamaErrorBody(message))


class OllamaHandler(GenerationHandler):
    """Base of Ollama's routes. Streams are lines of JSON."""

    is_openai = False
    stream_type = "application/x-ndjson"
    own_names: ClassVar[Mapping[str, str]] = {
        "enable_thinking": "think",
        "max_tokens": "options.num_predict",
        "response_format": "format",
    }

    def initialize(self) -> None:
        """Initialize the state of a request."""
        super().initialize()
        # Whether the request came without a token, and was let in.
        self.is_without_token = False
        # The model of the request, and for how many seconds it is kept after the answer.
        self._kept: tuple[str, float] | None = None

    async def prepare(self) -> None:  # type: ignore[override]
        """Let programs on this machine in, if the settings say so. Then authenticate."""
        headers = self.request.headers
        if (
            self.services.ollama_without_token
            and has_one_token(self.identity_provider)
            and "Authorization" not in headers
            and "X-Api-Key" not in headers
            and is_of_local_program(self.request)
        ):
            # With the token, all of Jupyter's checks apply as they do to any program.
            headers["Authorization"] = f"Bearer {self.identity_provider.token}"
            self.is_without_token = True
        await super().prepare()

    def encoded_error(self, error: ApiError) -> bytes:
        """Return Ollama's error object."""
        return ollama_error(error)

    def error_event(self, error: ApiError) -> bytes:
        """Return the last line of a stream that fails."""
        return self.encoded_error(error) + b"\n"

    async def send_comment(self, text: str) -> None:
        """Write a line that says nothing yet, since lines of JSON have no comments."""
        if not self._headers_written:
            self._open()
        await self.send(self.empty_line(text))

    def empty_line(self, text: str) -> bytes:
        """Return a line that keeps the connection open.

        Parameters
        ----------
        text
            What the request waits for.
        """
        raise NotImplementedError

    async def known_name(self, name: str) -> str:
        """Return the name of a model here for one in Ollama's form, with or without `:latest`."""
        catalog = self.services.catalog
        await catalog.default()
        bare = name.removesuffix(_LATEST)
        for candidate in (name, bare, bare + _LATEST):
            if catalog.source_of(catalog.canonical(candidate)) is not None:
                return candidate
        return bare

    async def load(self, model: str) -> str:
        """Load a model into memory, and return its own name.

        Raises
        ------
        ApiError
            If it cannot be loaded.
        """
        entry = await find_model(self, model)
        if entry.upstream is not None:
            raise model_is_upstream(entry.name, "There is nothing to load")
        command = Load(
            id=new_id("load-"),
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            user=self.user.name,
            evict=may_evict(self, entry.name),
        )
        await self.services.engine.load(command, await owner(self))
        return entry.name

    async def unload(self, model: str) -> None:
        """Unload a model from memory.

        Raises
        ------
        ApiError
            If there is no such model, it is in use, or the user may not unload it.
        """
        name = await local_name(self, model)
        check_permission(self, "unload", name)
        await self.services.engine.unload(name)

    def keep(self, model: str, seconds: float | None) -> None:
        """Note how long a model is to stay in memory after this request, by its `keep_alive`.

        If that cannot be done, the response lists `keep_alive` among the ignored parameters.

        Parameters
        ----------
        model
            The model's own name.
        seconds
            For how long; None for the server's own time, 0 for not at all.
        """
        if seconds is None:
            return
        resident = self.services.supervisor.telemetry.resident.get(model)
        is_pinned = resident is not None and resident.pinned
        rules = self.services.rates.limits.of(self.user)
        aliases = self.services.catalog.aliases_of(model)
        action: Action = "pin" if seconds else "unload"
        if self.services.catalog.source_of(model) == "upstream" or (
            not rules.allows(action, model, aliases) or (is_pinned and not seconds)
        ):
            self.report_ignored("keep_alive")
        else:
            self._kept = (model, seconds)

    async def keep_or_unload(self) -> None:
        """Do what `keep` has noted, after the answer.

        A model that others use at the moment is not unloaded.
        """
        if self._kept is None:
            return
        model, seconds = self._kept
        if seconds:
            self.services.keep_times.set(model, seconds)
            return
        try:
            await self.services.engine.unload(model)
        except ApiError as error:
            self.log.info("The model is kept although keep_alive is 0: %s", error.message)


class OllamaUnknownRouteHandler(OllamaHandler, UnknownRouteHandler):
    """Answer requests for routes that Ollama does not have either."""
