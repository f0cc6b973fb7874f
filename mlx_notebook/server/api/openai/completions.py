"""Handle `POST v1/completions`, with or without streaming."""

from collections.abc import Awaitable, Callable
from functools import cached_property

import anyio
from jupyter_server.auth.decorator import authorized
from msgspec import UNSET, UnsetType
from tornado import web
from tornado.iostream import StreamClosedError

from mlx_notebook import protocol
from mlx_notebook.server.api.generation import GenerationHandler, local_options
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.event_stream import comment
from mlx_notebook.server.api.openai.chat_completions import add_to_usage
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.services import Services
from mlx_notebook.server.upstreams.upstream_request import UpstreamGenerate, not_at_upstream
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.openai import text_completion as wire
from mlx_notebook.server.wire.openai.chat_response import CompletionUsage
from mlx_notebook.server.wire.prompt_logprobs import PromptTokenLogprobs, prompt_logprobs

Events = list[protocol.Event | KeepAlive]
Handle = Callable[[int, Events], Awaitable[None]]


class CompletionsHandler(GenerationHandler):
    """Complete one or several texts."""

    endpoint = "v1/completions"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the completions, or with a stream of their chunks."""
        await self.complete(self.decoded(wire.DECODER))

    async def complete(self, request: wire.CompletionRequest) -> None:
        """Answer a request.

        Raises
        ------
        ApiError
            If it is invalid, or cannot be run.
        """
        request.check()
        prompts = wire.separate_inputs(request.prompt, "prompt")
        id = new_id("cmpl-")
        options = local_options(request)
        if request.echo and request.logprobs is not None:
            alternatives = max(request.logprobs, request.prompt_logprobs or 0)
            options["prompt_logprobs"] = alternatives
        try:
            commands = [
                await self.command(
                    id if len(prompts) == 1 else f"{id}.{index}",
                    request.model,
                    request.engine_prompt(prompt),
                    request.sampling(),
                    request.n or 1,
                    output_format=request.output_format(),
                    attention_from=request.prompt_attention_from,
                    **options,
                )
                for index, prompt in enumerate(prompts)
            ]
            builder = TextCompletionBuilder(id, request, commands[0], self.services)
            await self._add_prompts(request, commands, builder)
            if request.stream:
                await self._stream(commands, builder)
            else:
                await self._run(commands, builder.add)
                self.answer(builder.response())
        except ApiError as error:
            if error.param == "messages":
                error.param = "prompt"
            raise

    async def _add_prompts(
        self,
        request: wire.CompletionRequest,
        commands: list[protocol.Generate],
        builder: "TextCompletionBuilder",
    ) -> None:
        """Add the prompts to the response. `echo` repeats their text, which may need the engine."""
        for command in commands:
            if request.echo and isinstance(command, UpstreamGenerate):
                prompt = command.prompt
                if not isinstance(prompt, protocol.TextPrompt) or not isinstance(prompt.text, str):
                    raise not_at_upstream(command.upstream, "echo")
                builder.add_prompt(prompt.text, "")
            elif request.echo:
                if request.truncate_prompt_tokens is not None:
                    raise InvalidRequest(
                        "'echo' and 'truncate_prompt_tokens' cannot be used together. Leave one "
                        "of them out.",
                        param="truncate_prompt_tokens",
                    )
                assert not isinstance(command.prompt, protocol.FillPrompt)
                tokenized = await self.tokenized(request.model, command.prompt, pieces=True)
                builder.add_prompt(tokenized.text, tokenized.pieces[0])
            else:
                builder.add_prompt("", "")

    async def _run(self, commands: list[protocol.Generate], handle: Handle) -> None:
        """Run all commands, as many at a time as the engine decodes together."""
        failure: ApiError | StreamClosedError | None = None
        at_once = max(1, self.services.limits.max_batch // commands[0].n)
        if isinstance(commands[0], UpstreamGenerate):
            upstream = self.services.upstreams.settings_of(commands[0].upstream)
            at_once = min(at_once, upstream.max_requests)
        limiter = anyio.CapacityLimiter(at_once)

        async def one(index: int, command: protocol.Generate) -> None:
            nonlocal failure
            async with limiter:
                try:
                    async with self.running(command) as stream:
                        async for events in stream.batches():
                            await handle(index, events)
                except (ApiError, StreamClosedError) as error:
                    failure = failure or error
                    group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for index, command in enumerate(commands):
                group.start_soon(one, index, command)
        if failure is not None:
            raise failure

    async def _stream(
        self, commands: list[protocol.Generate], builder: "TextCompletionBuilder"
    ) -> None:
        # Tornado loses a waiting task if two flush at the same time.
        lock = anyio.Lock()

        async def handle(index: int, events: Events) -> None:
            if data := builder.chunks(index, events):
                async with lock:
                    await self.send(data)

        async with self.event_stream():
            await self._run(commands, handle)
            await self.send(builder.last_chunks())


class TextCompletionBuilder:
    """Build the response to one request: `n` choices for each prompt."""

    def __init__(
        self,
        id: str,
        request: wire.CompletionRequest,
        command: protocol.Generate,
        services: Services,
    ) -> None:
        self._head = (id, now(), request.model or command.model)
        self._command = command
        self._services = services
        self._n = request.n or 1
        self._usage = protocol.Usage(0, 0, 0, 0)
        self._logprobs = request.logprobs is not None
        options = request.stream_options
        self._include_usage = bool(options and options.include_usage)
        self._continuous = bool(options and options.continuous_usage_stats)
        self._echoed = request.logprobs if request.echo else None
        self._alternatives = request.prompt_logprobs
        self._so_far: dict[int, protocol.Usage] = {}
        self._prompts: list[tuple[str, str]] = []
        self._choices: list[_Choice] = []

    @cached_property
    def _fingerprint(self) -> str:
        # Computed late, since it depends on the running engine.
        return self._services.fingerprint_of(self._command)

    def add_prompt(self, text: str, first: str) -> None:
        """Add the choices of a prompt. Each begins with `text`, whose first token is `first`."""
        self._prompts.append((text, first))
        for _ in range(self._n):
            self._choices.append(_Choice(len(self._choices), text, self._logprobs))

    async def add(self, prompt: int, events: Events) -> None:
        """Add events of a prompt."""
        for event in events:
            self._add(prompt, event)

    def response(self) -> wire.TextCompletion:
        """Return the whole response."""
        choices = [choice.take_output() for choice in self._choices]
        usage = CompletionUsage.of(self._usage)
        return wire.TextCompletion(*self._head, choices, self._fingerprint, usage)

    def chunks(self, prompt: int, events: Events) -> bytes:
        """Return the lines for a batch of events, which may be empty."""
        data = []
        for event in events:
            if isinstance(event, KeepAlive):
                data.append(comment(event.text))
                continue
            choice = self._add(prompt, event)
            if self._continuous:
                self._count(prompt, event)
            if choice is not None:
                data.append(self._chunk([choice.take_output()], None))
        return b"".join(data)

    def last_chunks(self) -> bytes:
        """Return the last lines of the stream."""
        usage = self._chunk([], CompletionUsage.of(self._usage)) if self._include_usage else b""
        return usage + b"data: [DONE]\n\n"

    def _add(self, prompt: int, event: protocol.Event | KeepAlive) -> "_Choice | None":
        """Add an event. Return the choice that has new output by it, if any."""
        first = prompt * self._n
        match event:
            case protocol.Text():
                choice = self._choices[first + event.row]
                choice.add(event)
                return choice
            case protocol.Finished():
                choice = self._choices[first + event.row]
                choice.reason = event.reason
                return choice
            case protocol.PromptLogprobs():
                for choice in self._choices[first : first + self._n]:
                    if self._echoed is not None:
                        start = self._prompts[prompt][1]
                        choice.logprobs.add_prompt(start, event.tokens, self._echoed)
                    if self._alternatives is not None:
                        choice.scored = prompt_logprobs(event, self._alternatives)
                    if event.attention is not None:
                        choice.attention = wire.PromptAttentionWeights.of(event.attention)
            case protocol.PromptTokenIds():
                for choice in self._choices[first : first + self._n]:
                    choice.prompt_ids, choice.ids = event.ids, []
            case protocol.TokenIds():
                self._choices[first + event.row].ids += event.ids
            case protocol.Done(usage=usage):
                total = zip(_counts(self._usage), _counts(usage), strict=True)
                self._usage = protocol.Usage(*(a + b for a, b in total))
        return None

    @property
    def _usage_so_far(self) -> protocol.Usage:
        """Token counts so far, over all prompts."""
        totals = (sum(column) for column in zip(*map(_counts, self._so_far.values()), strict=True))
        return protocol.Usage(*totals)

    def _count(self, prompt: int, event: protocol.Event) -> None:
        usage = self._so_far.get(prompt, protocol.Usage(0, 0, 0, 0))
        self._so_far[prompt] = add_to_usage(usage, event)

    def _chunk(self, choices: list[wire.TextChoice], usage: CompletionUsage | None) -> bytes:
        chunk = wire.TextCompletion(*self._head, choices, self._fingerprint)
        if self._include_usage or self._continuous:
            so_far = CompletionUsage.of(self._usage_so_far) if self._continuous else None
            chunk.usage = usage or so_far
        return b"data: %b\n\n" % wire.ENCODER.encode(chunk)


class _Choice:
    """Build one choice."""

    def __init__(self, index: int, text: str, with_logprobs: bool) -> None:
        self._index = index
        self._text = [text]
        self._with_logprobs = with_logprobs
        self.logprobs = wire.TextLogprobsBuilder()
        self.reason: protocol.FinishReason | None = None
        self.prompt_ids: list[int] | None = None
        self.ids: list[int] = []
        self.scored: PromptTokenLogprobs | UnsetType = UNSET
        self.attention: wire.PromptAttentionWeights | UnsetType = UNSET
        self._with_ids = False

    def add(self, event: protocol.Text) -> None:
        self._text.append(event.text)
        self.logprobs.add(event.logprobs or [])

    def take_output(self) -> wire.TextChoice:
        """Return the output since the last call."""
        text, self._text = "".join(self._text), []
        logprobs = self.logprobs.take()
        shown = logprobs if self._with_logprobs and logprobs.tokens else None
        choice = wire.TextChoice(self._index, text, shown, self.reason)
        choice.prompt_logprobs, choice.prompt_attention = self.scored, self.attention
        if self.prompt_ids is not None:
            choice.prompt_token_ids, self.prompt_ids = self.prompt_ids, None
            self._with_ids = True
        if self._with_ids:
            choice.token_ids, self.ids = self.ids, []
        return choice


def _counts(usage: protocol.Usage) -> tuple[int, int, int, int]:
    return usage.prompt, usage.completion, usage.cached, usage.reasoning
