"""What every endpoint that generates shares: from a checked request to a stream of events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict, Unpack

from mlx_notebook.protocol import (
    ChatPrompt,
    Generate,
    OutputFormat,
    Prompt,
    Sampling,
    Tokenize,
    Tokenized,
    ToolChoice,
)
from mlx_notebook.server.api.event_stream import EventStreamHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import (
    ApiError,
    InvalidRequest,
    generation_not_supported,
    vision_not_supported,
)
from mlx_notebook.server.identity import owner
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.model_settings import ModelSettings
from mlx_notebook.server.telemetry.request_traces import RequestOrigin
from mlx_notebook.server.wire.content import image_sources
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.sampling_parameters import SamplingParameters


class LocalOptions(TypedDict, total=False):
    """What the parameters that all endpoints share ask of the engine; see `protocol.Generate`."""

    prompt_logprobs: int | None
    truncate_prompt: int | None
    token_ids: bool
    include_reasoning: bool


class Options(LocalOptions, total=False):
    """What a request may ask of the engine beside its sampling."""

    tool_choice: ToolChoice
    output_format: OutputFormat | None
    reasoning_budget: int | None


def local_options(request: SamplingParameters) -> LocalOptions:
    """Return what a request asks for by the parameters that all endpoints share.

    Raises:
        InvalidRequest: It asks for the prompt's log probabilities in a stream.
    """
    if request.prompt_logprobs is not None and getattr(request, "stream", None):
        raise InvalidRequest(
            "'prompt_logprobs' does not work with 'stream': leave one of them out.",
            param="prompt_logprobs",
        )
    return {
        "prompt_logprobs": request.prompt_logprobs,
        "truncate_prompt": request.truncate_prompt_tokens,
        "token_ids": bool(request.return_token_ids),
        "include_reasoning": request.include_reasoning is not False,
    }


class GenerationHandler(EventStreamHandler):
    """Base of the endpoints that run a model."""

    async def command(
        self,
        id: str,
        model: str | None,
        prompt: Prompt,
        sampling: Sampling,
        n: int = 1,
        **asked: Unpack[Options],
    ) -> Generate:
        """Return the order to run a request on the model of that name, or on the default one.

        Raises:
            ApiError: The model is not there or writes nothing, or a picture cannot be shown to it.
        """
        entry = await find_model(self, model)
        if entry.embeds:
            raise await self._no_writer(entry)
        settings = await self._settings(entry)
        prompt = settings.apply_to_prompt(prompt)
        if isinstance(prompt, ChatPrompt):
            prompt = await self.shown_to(entry, prompt)
        return Generate(
            id=id,
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            prompt=prompt,
            sampling=settings.apply_to_sampling(sampling),
            n=n,
            cache_salt=self.services.cache_salt(await owner(self)),
            **asked,
        )

    async def _settings(self, entry: CatalogEntry) -> ModelSettings:
        """Return a model's settings in force for this client; its adapters share them."""
        model = entry.name.partition("+")[0]
        return self.services.model_settings.of(model, await self.settings_user())

    async def shown_to(self, entry: CatalogEntry, prompt: ChatPrompt) -> ChatPrompt:
        """Return a prompt with the pictures that its messages show.

        Raises:
            InvalidRequest: The model takes no images, or one of them cannot be fetched or read.
        """
        if not (pictures := image_sources(prompt.messages)):
            return prompt
        if not entry.sees:
            seers = await self._able_to("vision")
            raise vision_not_supported(entry.name, pictures[0].where, seers)
        return await self.services.images.load_images(prompt)

    async def _no_writer(self, entry: CatalogEntry) -> ApiError:
        return generation_not_supported(entry.name, await self._able_to("chat"))

    async def _able_to(self, can: str) -> list[str]:
        """Return the names of the models here with a capability, those in memory first."""
        stats = self.services.supervisor.telemetry.stats
        resident = {model.model: model for model in stats.resident} if stats else {}
        names = [
            entry.name
            for entry in await self.services.catalog.entries()
            if can in entry.capabilities(resident.get(entry.name))
        ]
        told = [f"{name} (in memory)" for name in names if name in resident]
        return told + [name for name in names if name not in resident]

    @asynccontextmanager
    async def generating(
        self,
        id: str,
        model: str | None,
        prompt: Prompt,
        sampling: Sampling,
        n: int = 1,
        **asked: Unpack[Options],
    ) -> AsyncIterator[RequestStream]:
        """Run a request on the model of that name, or on the default one.

        Raises:
            ApiError: The model is not there, or the engine cannot take the request.
        """
        command = await self.command(id, model, prompt, sampling, n, **asked)
        async with self.running(command) as stream:
            yield stream

    @asynccontextmanager
    async def running(self, command: Generate) -> AsyncIterator[RequestStream]:
        """Run a request for this client.

        Raises:
            ApiError: The engine cannot take the request.
        """
        # The parts of a request (several prompts) are named by its id, a dot and a number.
        self.set_header("x-request-id", command.id.partition(".")[0])
        origin = RequestOrigin(await owner(self), self.endpoint, self.ignored)
        async with self.services.engine.generate(command, origin) as stream:
            yield stream

    async def tokenized(
        self,
        model: str | None,
        prompt: Prompt,
        *,
        add_special_tokens: bool = True,
        pieces: bool = False,
    ) -> Tokenized:
        """Return what a prompt becomes for the model of that name, or for the default one.

        With `pieces` also each token's own text.

        Raises:
            ApiError: The model is not there, or its template refuses the messages, or a picture
                cannot be shown to it.
        """
        entry = await find_model(self, model)
        if isinstance(prompt, ChatPrompt) and entry.embeds:
            raise await self._no_writer(entry)
        prompt = (await self._settings(entry)).apply_to_prompt(prompt)
        if isinstance(prompt, ChatPrompt):
            prompt = await self.shown_to(entry, prompt)
        command = Tokenize(
            id=new_id("tokenize-"),
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            prompt=prompt,
            add_special_tokens=add_special_tokens,
            pieces=pieces,
        )
        return await self.services.engine.tokenize(command, await owner(self))
