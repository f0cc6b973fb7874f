"""Handle `POST v1/chat/completions`, with or without streaming."""

import time

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import protocol
from mlx_notebook.server.api.generation import GenerationHandler, local_options
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.event_stream import comment
from mlx_notebook.server.api.openai.stored_completions import StoredCompletionsHandler
from mlx_notebook.server.engine.request_stream import KeepAlive, RequestStream
from mlx_notebook.server.errors import Unavailable
from mlx_notebook.server.identity import owner
from mlx_notebook.server.responses.completion_store import PREFIX
from mlx_notebook.server.wire.conversation import notices_on_order
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.openai import chat_response as wire
from mlx_notebook.server.wire.openai.chat_request import DECODER, ChatCompletionRequest
from mlx_notebook.server.wire.openai.stored_completion_types import (
    StoredCompletion,
    stored_messages,
)
from mlx_notebook.server.wire.openai.tools import left_out_tools
from mlx_notebook.server.wire.prompt_logprobs import prompt_logprobs


class ChatCompletionsBase(GenerationHandler):
    """Base of the routes that complete chats."""

    async def complete(self, request: ChatCompletionRequest) -> None:
        """Answer a request.

        Raises
        ------
        ApiError
            If it is invalid, or cannot be run.
        """
        self.services.limits.check_message_count(len(request.messages))
        request.check()
        self.report_ignored(*left_out_tools(request.tools or []))
        roles = (str(message.__struct_config__.tag) for message in request.messages)
        self.report_notices(notices_on_order(roles))
        if request.store:
            await self.services.responses.store.require()
        command = await self.command(
            new_id(PREFIX),
            request.model,
            request.prompt(),
            request.sampling(),
            request.n or 1,
            tool_choice=request.choice(),
            output_format=request.output_format(),
            reasoning_budget=request.reasoning_budget(),
            **local_options(request),
        )
        async with self.running(command) as stream:
            builder = ChatCompletionBuilder(
                request,
                command.id,
                request.model or command.model,
                self.services.fingerprint_of(command),
            )
            if request.stream:
                await self._stream(builder, stream, request)
            else:
                await self._respond(builder, stream, request)

    async def _respond(
        self,
        builder: "ChatCompletionBuilder",
        stream: RequestStream,
        request: ChatCompletionRequest,
    ) -> None:
        async for events in stream.batches():
            builder.add(events)
        completion = builder.completion()
        if request.store:
            completion.metadata = request.metadata or {}
            if not await self._store(completion, request):
                completion.store = False
                self.report_ignored("store")
        self.answer(completion)

    async def _stream(
        self,
        builder: "ChatCompletionBuilder",
        stream: RequestStream,
        request: ChatCompletionRequest,
    ) -> None:
        options = request.stream_options
        encoder = builder.encoder(bool(options and options.include_usage))
        chunks = ChunkWriter(
            encoder,
            request.n or 1,
            include_usage=bool(options and options.include_usage),
            continuous=bool(options and options.continuous_usage_stats),
            arrived=self.arrived,
        )
        async with self.event_stream():
            async for events in stream.batches():
                if request.store:
                    builder.add(events)
                    # Store it before the client gets the last chunk.
                    if builder.ended and not await self._store(builder.completion(), request):
                        encoder.mark_not_stored()
                if data := chunks.encode(events):
                    await self.send(data)

    async def _store(self, completion: wire.ChatCompletion, request: ChatCompletionRequest) -> bool:
        """Store a completion. Return False on failure, which the store logs."""
        messages = stored_messages(completion.id, request)
        stored = StoredCompletion.of(request, completion)
        try:
            await self.services.responses.completions.save(await owner(self), stored, messages)
        except Unavailable:
            return False
        return True


class ChatCompletionsHandler(StoredCompletionsHandler, ChatCompletionsBase):
    """Complete chats, and list stored completions."""

    endpoint = "v1/chat/completions"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a completion, or with a stream of its chunks."""
        await self.complete(self.decoded(DECODER))


class ChunkWriter:
    """Write the `data:` lines of one stream.

    It writes nothing but keep-alive comments before the first token, so that an error until then is
    a plain HTTP error.
    """

    def __init__(
        self,
        encoder: wire.ChunkEncoder,
        n: int,
        *,
        include_usage: bool,
        arrived: float,
        continuous: bool = False,
    ) -> None:
        self._encoder = encoder
        self._include_usage = include_usage
        self._usage_so_far: protocol.Usage | None = (
            protocol.Usage(0, 0, 0, 0) if continuous else None
        )
        self._prompt: list[int] | None = None
        self._ids: dict[int, list[int]] = {}
        self._rows_to_open = n
        self._arrived = arrived
        self._seconds_to_first_token = 0.0

    def encode(self, events: list[protocol.Event | KeepAlive]) -> bytes:
        """Return the lines for a batch of events, which may be empty."""
        return b"".join([self._encode(event) for event in events])

    def _encode(self, event: protocol.Event | KeepAlive) -> bytes:
        if self._usage_so_far is not None:
            self._usage_so_far = add_to_usage(self._usage_so_far, event)
        match event:
            case protocol.Text(logprobs=list(tokens)):
                delta = wire.ChoiceDelta(content=event.text)
                return self._choice(event.row, delta, logprobs=wire.ChoiceLogprobs.of(tokens))
            case protocol.Text(text=text):
                return self._text(event.row, text) if text else b""
            case protocol.Reasoning(text=text):
                delta = wire.ChoiceDelta(reasoning_content=text, reasoning=text)
                return self._choice(event.row, delta) if text else b""
            case protocol.ToolCallStart():
                call = wire.ChoiceDeltaToolCall(
                    event.index,
                    wire.ChoiceDeltaFunction(name=event.name),
                    id=event.call_id,
                    type="function",
                )
                return self._choice(event.row, wire.ChoiceDelta(tool_calls=[call]))
            case protocol.ToolCallArguments():
                call = wire.ChoiceDeltaToolCall(
                    event.index, wire.ChoiceDeltaFunction(arguments=event.arguments)
                )
                return self._choice(event.row, wire.ChoiceDelta(tool_calls=[call]))
            case protocol.Finished():
                return self._choice(event.row, wire.ChoiceDelta(), event.reason)
            case protocol.Done():
                return self._usage(event) + b"data: [DONE]\n\n"
            case protocol.PromptTokenIds(ids=ids):
                self._prompt = ids
            case protocol.TokenIds(ids=ids):
                # They are sent with the next chunk of their row.
                self._ids.setdefault(event.row, []).extend(ids)
            case KeepAlive():
                return comment(event.text)
        return b""

    def _usage(self, done: protocol.Done) -> bytes:
        if not self._include_usage:
            return b""
        first_token = self._seconds_to_first_token or time.monotonic() - self._arrived
        timings = wire.ResponseTimings.of(done.timings, first_token)
        return self._encoder.usage(done.usage, timings)

    def _text(self, row: int, text: str) -> bytes:
        if self._usage_so_far is not None or self._prompt is not None:
            return self._choice(row, wire.ChoiceDelta(content=text))
        return self._opening() + self._encoder.text(row, text)

    def _choice(
        self,
        row: int,
        delta: wire.ChoiceDelta,
        reason: protocol.FinishReason | None = None,
        logprobs: wire.ChoiceLogprobs | None = None,
    ) -> bytes:
        choice = wire.ChunkChoice(row, delta, logprobs, reason)
        if self._prompt is not None:
            choice.token_ids = self._ids.pop(row, [])
        return self._opening() + self._encoder.choice(choice, self._usage_so_far)

    def _opening(self) -> bytes:
        """Return the first chunks, which name the role of each choice. Return them only once."""
        if not self._rows_to_open:
            return b""
        rows, self._rows_to_open = range(self._rows_to_open), 0
        self._seconds_to_first_token = time.monotonic() - self._arrived
        return b"".join(
            [
                self._encoder.choice(
                    wire.ChunkChoice(row, wire.ChoiceDelta(role="assistant", content="")),
                    self._usage_so_far,
                    self._prompt if row == 0 else None,
                )
                for row in rows
            ]
        )


def add_to_usage(usage: protocol.Usage, event: protocol.Event | KeepAlive) -> protocol.Usage:
    """Return the token counts after another event."""
    match event:
        case protocol.Prefill():
            return msgspec.structs.replace(usage, prompt=event.total, cached=event.cached)
        case protocol.Text():
            return msgspec.structs.replace(usage, completion=usage.completion + event.tokens)
        case protocol.Reasoning(tokens=tokens):
            return msgspec.structs.replace(
                usage, completion=usage.completion + tokens, reasoning=usage.reasoning + tokens
            )
    return usage


class ChatCompletionBuilder:
    """Build a completion from events.

    Parameters
    ----------
    request
        Its request.
    id
        Its id.
    model
        Name of the model in the response.
    fingerprint
        Fingerprint of the server and the engine.
    """

    def __init__(
        self, request: ChatCompletionRequest, id: str, model: str, fingerprint: str
    ) -> None:
        self._head = (id, now(), model)
        self._fingerprint = fingerprint
        self._rows = [_Row() for _ in range(request.n or 1)]
        self._with_logprobs = bool(request.logprobs)
        self._alternatives = request.prompt_logprobs or 0
        self._usage = protocol.Usage(0, 0, 0, 0)
        self._prompt: list[int] | None = None
        self._scored: protocol.PromptLogprobs | None = None
        self.ended = False

    def encoder(self, include_usage: bool) -> wire.ChunkEncoder:
        """Return an encoder of its chunks."""
        return wire.ChunkEncoder(*self._head, self._fingerprint, include_usage)

    def add(self, events: list[protocol.Event | KeepAlive]) -> None:
        """Add events."""
        rows = self._rows
        for event in events:
            match event:
                case protocol.Text():
                    rows[event.row].content.append(event.text)
                    rows[event.row].logprobs.extend(event.logprobs or [])
                case protocol.Reasoning():
                    rows[event.row].reasoning.append(event.text)
                case protocol.ToolCallStart():
                    rows[event.row].calls.append((event.call_id, event.name, []))
                case protocol.ToolCallArguments():
                    rows[event.row].calls[event.index][2].append(event.arguments)
                case protocol.TokenIds():
                    rows[event.row].ids.extend(event.ids)
                case protocol.PromptTokenIds():
                    self._prompt = event.ids
                case protocol.PromptLogprobs():
                    self._scored = event
                case protocol.Finished():
                    rows[event.row].reason = event.reason
                case protocol.Done():
                    self._usage = event.usage
                    self.ended = True

    def completion(self) -> wire.ChatCompletion:
        """Return the completion, after its last event."""
        completion = wire.ChatCompletion(
            *self._head,
            choices=[
                row.choice(index, self._with_logprobs) for index, row in enumerate(self._rows)
            ],
            usage=wire.CompletionUsage.of(self._usage),
            system_fingerprint=self._fingerprint,
        )
        if self._prompt is not None:
            completion.prompt_token_ids = self._prompt
            for choice, row in zip(completion.choices, self._rows, strict=True):
                choice.token_ids = row.ids
        if self._scored is not None:
            completion.prompt_logprobs = prompt_logprobs(self._scored, self._alternatives)
        return completion


class _Row:
    """Collect the output of one choice."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.logprobs: list[protocol.TokenLogprob] = []
        self.reasoning: list[str] = []
        self.ids: list[int] = []
        self.calls: list[tuple[str, str, list[str]]] = []
        self.reason: protocol.FinishReason = "stop"

    def choice(self, index: int, with_logprobs: bool) -> wire.ChatChoice:
        message = wire.ChatCompletionMessage(content="".join(self.content))
        if any(self.reasoning):
            message.reasoning_content = message.reasoning = "".join(self.reasoning)
        if self.calls:
            message.content = message.content or None
            message.tool_calls = [
                wire.ChatCompletionToolCall(
                    id, wire.ChatCompletionFunction(name, "".join(arguments))
                )
                for id, name, arguments in self.calls
            ]
        logprobs = wire.ChoiceLogprobs.of(self.logprobs) if with_logprobs else None
        return wire.ChatChoice(index, message, self.reason, logprobs)
