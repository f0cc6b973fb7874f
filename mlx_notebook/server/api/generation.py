"""Share what all generating endpoints need: from a valid request to a stream of events."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import ClassVar, TypedDict, Unpack

import anyio
import msgspec
from tornado.iostream import StreamClosedError

from mlx_notebook.protocol import (
    ChatPrompt,
    FillPrompt,
    Generate,
    OutputFormat,
    Prompt,
    Sampling,
    Tokenize,
    Tokenized,
    ToolChoice,
)
from mlx_notebook.server.api.http.event_stream import EventStreamHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.user_rules import begin_request, may_evict
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.identity import owner
from mlx_notebook.server.media.attachments import LoadedFile
from mlx_notebook.server.media.sources.user_files import UserFiles
from mlx_notebook.server.model_errors import (
    audio_not_supported,
    generation_not_supported,
    vision_not_supported,
)
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.completion_model import completion_method, fill_not_supported
from mlx_notebook.server.models.settings.model_settings import ModelSettings
from mlx_notebook.server.telemetry.request_traces import RequestOrigin
from mlx_notebook.server.upstreams.upstream_request import (
    UpstreamGenerate,
    check_request,
    has_reasoning,
)
from mlx_notebook.server.upstreams.upstream_settings import UpstreamSettings
from mlx_notebook.server.wire.content import (
    AudioSource,
    DocumentSource,
    VideoSource,
    media_sources,
)
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.parameters.sampling_parameters import SamplingParameters

# What is said where a model does not see them.
_AS_IMAGES = {
    DocumentSource: "The pages of a PDF are images. With 'pages_as': 'text' it gets their text.",
    VideoSource: "The frames of a video are images.",
}


class LocalOptions(TypedDict, total=False):
    """Options for the engine that all endpoints share (see `protocol.Generate`)."""

    prompt_logprobs: int | None
    truncate_prompt: int | None
    token_ids: bool
    include_reasoning: bool


class Options(LocalOptions, total=False):
    """Options for the engine, without sampling (see `protocol.Generate`)."""

    tool_choice: ToolChoice
    output_format: OutputFormat | None
    reasoning_budget: int | None
    attention_from: int | None
    urgent: bool


def local_options(request: SamplingParameters) -> LocalOptions:
    """Return the options that a request sets by the parameters that all endpoints share.

    Raises
    ------
    InvalidRequest
        If it asks for the log probabilities of the prompt in a stream.
    """
    if request.prompt_logprobs is not None and getattr(request, "stream", None):
        raise InvalidRequest(
            "'prompt_logprobs' does not work with 'stream'. Leave one of them out.",
            param="prompt_logprobs",
        )
    return {
        "prompt_logprobs": request.prompt_logprobs,
        "truncate_prompt": request.truncate_prompt_tokens,
        "token_ids": bool(request.return_token_ids),
        "include_reasoning": request.include_reasoning is not False,
    }


def tokens_not_known(entry: CatalogEntry, param: str = "model") -> InvalidRequest:
    """Return the error for a request that needs the tokens of an upstream's model."""
    return InvalidRequest(
        f"Only the upstream {entry.upstream!r} knows the tokens of its model {entry.name!r}. Use a "
        "model on this machine for this.",
        param=param,
        code="model_is_upstream",
    )


class GenerationHandler(EventStreamHandler):
    """Base of the endpoints that run a model."""

    # What the API of a route calls parameters that have another name in chat completions.
    own_names: ClassVar[Mapping[str, str]] = {}

    def initialize(self) -> None:
        """Initialize the state of a request."""
        super().initialize()
        # Documents of the request that were read from URLs.
        self.files: list[LoadedFile] = []

    async def command(
        self,
        id: str,
        model: str | None,
        prompt: Prompt | FillPrompt,
        sampling: Sampling,
        n: int = 1,
        **options: Unpack[Options],
    ) -> Generate:
        """Return the command to run a request on a model; None for the default model.

        Raises
        ------
        ApiError
            If there is no such model, it generates no text, or it cannot use an image.
        """
        entry = await find_model(self, model, use="text")
        if not entry.generates_text:
            raise await self._generation_not_supported(entry)
        settings = await self._settings(entry)
        if isinstance(prompt, FillPrompt):
            if entry.upstream is not None:
                raise tokens_not_known(entry)
            if completion_method(entry) is None:
                raise fill_not_supported(entry)
            prompt = settings.apply_to_fill(prompt)
        else:
            prompt = settings.apply_to_prompt(prompt)
        if isinstance(prompt, ChatPrompt):
            prompt = await self.with_images(entry, prompt)
        if entry.upstream is not None and not isinstance(prompt, FillPrompt):
            sampling = settings.apply_to_sampling(sampling)
            return self._upstream_command(id, entry, prompt, sampling, n, options)
        shared_system, shared_salt = self.services.shared_prefixes.system(self.user, prompt)
        return Generate(
            id=id,
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            prompt=prompt,
            sampling=settings.apply_to_sampling(sampling),
            n=n,
            cache_salt=await self._cache_salt(),
            shared_system=shared_system,
            shared_salt=shared_salt,
            user=self.user.name,
            evict=may_evict(self, entry.name),
            patient=self.is_patient,
            **options,
        )

    def _upstream_command(
        self,
        id: str,
        entry: CatalogEntry,
        prompt: Prompt,
        sampling: Sampling,
        n: int,
        options: Options,
    ) -> UpstreamGenerate:
        """Return the command to run a request at an upstream.

        Raises
        ------
        InvalidRequest
            If it has a parameter that the upstream does not have.
        """
        assert entry.upstream is not None
        upstream = self.services.upstreams.settings_of(entry.upstream)
        if isinstance(prompt, ChatPrompt):
            prompt = self._without_ignored(prompt, upstream)
        command = UpstreamGenerate(
            id=id,
            model=entry.name,
            path="",
            prompt=prompt,
            sampling=sampling,
            n=n,
            upstream=entry.upstream,
            parameters=self.passed_on,
            **options,
        )
        check_request(command, upstream, self.own_names)
        return command

    def _without_ignored(self, prompt: ChatPrompt, upstream: UpstreamSettings) -> ChatPrompt:
        """Return a prompt without what an upstream does not get, and report that to the client."""
        if has_reasoning(prompt):
            # Upstreams disagree about its name, and some refuse it.
            self.report_ignored("messages.reasoning_content")
        off = {"enable_thinking": False}
        if self.is_openai or prompt.template_kwargs != off or "enable_thinking" in upstream.extra:
            return prompt
        # Anthropic's clients say so even where a model does not reason.
        self.report_ignored("thinking")
        return msgspec.structs.replace(prompt, template_kwargs={})

    async def _settings(self, entry: CatalogEntry) -> ModelSettings:
        """Return the settings of a model for this client."""
        user = await self.settings_user()
        return self.services.model_settings.of(entry.settings_name, user)

    async def with_images(self, entry: CatalogEntry, prompt: ChatPrompt) -> ChatPrompt:
        """Return a prompt with the images, sounds, pages and frames that its messages name.

        Raises
        ------
        InvalidRequest
            If the model takes no images or sounds, or one of them cannot be fetched or read.
        NotFound
            If the user has no file that it names.
        """
        if not media_sources(prompt.messages):
            return prompt
        files = UserFiles(lambda: self.services.batches.files, await owner(self))
        prompt = await self.services.images.with_texts(prompt, files)
        if not (sources := media_sources(prompt.messages)):
            return prompt
        for source in sources:
            if isinstance(source, DocumentSource) and source.pages_as == "text":
                continue
            if isinstance(source, AudioSource):
                if not entry.takes_audio:
                    able = await self._models_with("audio")
                    raise audio_not_supported(entry.name, "does not hear", able, source.where)
                continue
            if not entry.takes_images:
                vision_models = await self._models_with("vision")
                raise vision_not_supported(
                    entry.name, source.where, vision_models, _AS_IMAGES.get(type(source), "")
                )
        loaded = await self.services.images.load(prompt, files, takes_video=entry.takes_video)
        self.report_notices(loaded.notices)
        self.files += loaded.files
        return msgspec.structs.replace(loaded.prompt, image_salt=await self._cache_salt())

    async def _cache_salt(self) -> str:
        return self.services.cache_salt(await owner(self), self.user)

    async def _generation_not_supported(self, entry: CatalogEntry) -> ApiError:
        able = await self._models_with("chat")
        return generation_not_supported(entry.name, able, entry.own_route)

    async def _models_with(self, capability: str) -> list[str]:
        """Return the models on this machine with a capability, resident ones first."""
        resident = self.services.supervisor.telemetry.resident
        names = [
            entry.name
            for entry in await self.services.catalog.entries()
            if capability in entry.capabilities(resident.get(entry.name))
        ]
        first = [f"{name} (in memory)" for name in names if name in resident]
        return first + [name for name in names if name not in resident]

    @asynccontextmanager
    async def running(self, command: Generate) -> AsyncIterator[RequestStream]:
        """Run a request for this client.

        Raises
        ------
        ApiError
            If the engine cannot accept the request.
        """
        # The id of a part (of a request with several prompts) is that of the request and a number.
        self.set_header("x-request-id", command.id.partition(".")[0])
        origin = RequestOrigin(
            await owner(self), self.endpoint, self.ignored, self.notices, self.report.context
        )
        async with AsyncExitStack() as stack:
            async with self.signs_of_life():
                # It may start the engine first.
                stream = await stack.enter_async_context(
                    self.services.requests.generate(command, origin)
                )
            try:
                yield stream
            finally:
                begin_request(self).take_tokens(stream.tokens)

    @asynccontextmanager
    async def signs_of_life(self) -> AsyncIterator[None]:
        """Send a streaming client comments during the block, so that it knows that it is heard."""
        task = asyncio.create_task(self._send_comments()) if self.wants_stream else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()

    async def _send_comments(self) -> None:
        with suppress(StreamClosedError):  # the handler notices it too
            while True:
                await anyio.sleep(self.services.limits.keep_alive_seconds)
                await self.send_comment("keep-alive starting")

    async def tokenized(
        self,
        model: str | None,
        prompt: Prompt,
        *,
        add_special_tokens: bool = True,
        pieces: bool = False,
    ) -> Tokenized:
        """Return the text and the tokens of a prompt for a model; None for the default model.

        With `pieces`, return the text of each token too.

        Raises
        ------
        ApiError
            If there is no such model, its template refuses the messages, or it cannot use an image.
        """
        use = "text" if isinstance(prompt, ChatPrompt) else None
        entry = await find_model(self, model, use=use)
        if entry.upstream is not None:
            raise tokens_not_known(entry)
        if isinstance(prompt, ChatPrompt) and not entry.generates_text:
            raise await self._generation_not_supported(entry)
        prompt = (await self._settings(entry)).apply_to_prompt(prompt)
        if isinstance(prompt, ChatPrompt):
            prompt = await self.with_images(entry, prompt)
        command = Tokenize(
            id=new_id("tokenize-"),
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            prompt=prompt,
            add_special_tokens=add_special_tokens,
            pieces=pieces,
            user=self.user.name,
            evict=may_evict(self, entry.name),
        )
        return await self.services.engine.tokenize(command, await owner(self))
