"""`POST v1/chat/completions`, whole or streamed."""

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from mlx_notebook import messages as words
from mlx_notebook.server.base import now
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.generation import GenerationHandler, new_id
from mlx_notebook.server.streams import KeepAlive, RequestStream
from mlx_notebook.server.wire import completion as wire
from mlx_notebook.server.wire.chat import DECODER, ChatCompletionRequest


class ChatCompletionsHandler(GenerationHandler):
    """Continues a chat."""

    endpoint = "v1/chat/completions"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answer with a completion, or with its chunks as they are made."""
        request = self.decoded(DECODER)
        self.extension.check_message_count(len(request.messages))
        request.check()
        id = new_id("chatcmpl-")
        with self.while_connected():
            async with self.generating(
                id,
                request.model,
                request.prompt(),
                request.sampling(),
                request.n or 1,
                tool_choice=request.choice(),
                output_format=request.output_format(),
                thinking_budget=request.budget(),
            ) as stream:
                answer = Answer(
                    id, request.model or stream.model, stream, self.extension.fingerprint
                )
                if request.stream:
                    await self._stream(answer, request)
                else:
                    self.answer(await answer.whole(request.n or 1, bool(request.logprobs)))
        if self.client_left:
            self.note_client_left()

    async def _stream(self, answer: "Answer", request: ChatCompletionRequest) -> None:
        options = request.stream_options
        include_usage = options is not None and options.include_usage
        encoder = wire.ChunkEncoder(
            answer.id, answer.created, answer.model, answer.fingerprint, include_usage
        )
        chunks = ChunkWriter(encoder, request.n or 1, include_usage)
        self.open_stream()
        try:
            try:
                async for events in answer.stream.batches():
                    if data := chunks.encode(events):
                        await self.send(data)
            except ApiError as error:
                if not self._headers_written:
                    raise
                await self.send(self.error_event(error))
            self.close_stream()
        except StreamClosedError:
            self.client_left = True


class ChunkWriter:
    """Turns events into the `data:` lines of one stream.

    Nothing is written before the first token, so that what fails until then is a plain HTTP
    error; only a client that has waited for long gets a comment that keeps its connection open.
    """

    def __init__(self, encoder: wire.ChunkEncoder, n: int, include_usage: bool) -> None:
        self._encoder = encoder
        self._include_usage = include_usage
        self._to_open = n
        self._progress = ""

    def encode(self, events: list[words.Event | KeepAlive]) -> bytes:
        """Return what to write for a batch of events, which may be nothing."""
        return b"".join([self._encode(event) for event in events])

    def _encode(self, event: words.Event | KeepAlive) -> bytes:
        match event:
            case words.Text(logprobs=list(tokens)):
                delta = wire.Delta(content=event.text)
                return self._choice(event.row, delta, logprobs=wire.ChoiceLogprobs.of(tokens))
            case words.Text(text=text):
                return self._opening() + self._encoder.text(event.row, text) if text else b""
            case words.Reasoning(text=text):
                delta = wire.Delta(reasoning_content=text, reasoning=text)
                return self._choice(event.row, delta) if text else b""
            case words.ToolCallStart():
                call = wire.ToolCallDelta(
                    event.index,
                    wire.FunctionDelta(name=event.name),
                    id=event.call_id,
                    type="function",
                )
                return self._choice(event.row, wire.Delta(tool_calls=[call]))
            case words.ToolCallDelta():
                call = wire.ToolCallDelta(
                    event.index, wire.FunctionDelta(arguments=event.arguments)
                )
                return self._choice(event.row, wire.Delta(tool_calls=[call]))
            case words.Finished():
                return self._choice(event.row, wire.Delta(), event.reason)
            case words.Done():
                usage = self._encoder.usage(event.usage) if self._include_usage else b""
                return usage + b"data: [DONE]\n\n"
            case words.Loading():
                self._progress = f" loading {event.seconds:.0f} s"
            case words.Prefill():
                self._progress = f" prompt {event.done}/{event.total}"
            case KeepAlive():
                return f": keep-alive{self._progress}\n\n".encode()
        return b""

    def _choice(
        self,
        row: int,
        delta: wire.Delta,
        reason: words.FinishReason | None = None,
        logprobs: wire.ChoiceLogprobs | None = None,
    ) -> bytes:
        choice = wire.ChunkChoice(row, delta, logprobs, reason)
        return self._opening() + self._encoder.choice(choice)

    def _opening(self) -> bytes:
        """Return the chunks that name the role of each choice, before the first other one."""
        rows, self._to_open = range(self._to_open), 0
        return b"".join(
            [
                self._encoder.choice(
                    wire.ChunkChoice(row, wire.Delta(role="assistant", content=""))
                )
                for row in rows
            ]
        )


class Answer:
    """The answer to one request."""

    def __init__(self, id: str, model: str, stream: RequestStream, fingerprint: str) -> None:
        self.id = id
        self.model = model
        self.stream = stream
        self.fingerprint = fingerprint
        self.created = now()

    async def whole(self, n: int, with_logprobs: bool = False) -> wire.ChatCompletion:
        """Wait for the end and return everything.

        Raises:
            ApiError: The engine failed on the request.
        """
        rows = [_Row() for _ in range(n)]
        usage = words.Usage(0, 0, 0, 0)
        async for events in self.stream.batches():
            for event in events:
                match event:
                    case words.Text():
                        rows[event.row].content.append(event.text)
                        rows[event.row].logprobs.extend(event.logprobs or [])
                    case words.Reasoning():
                        rows[event.row].reasoning.append(event.text)
                    case words.ToolCallStart():
                        rows[event.row].calls.append((event.call_id, event.name, []))
                    case words.ToolCallDelta():
                        rows[event.row].calls[event.index][2].append(event.arguments)
                    case words.Finished():
                        rows[event.row].reason = event.reason
                    case words.Done():
                        usage = event.usage
        return wire.ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[row.choice(index, with_logprobs) for index, row in enumerate(rows)],
            usage=wire.CompletionUsage.of(usage),
            system_fingerprint=self.fingerprint,
        )


class _Row:
    """One of the `n` answers while it grows."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.logprobs: list[words.TokenLogprob] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[str, str, list[str]]] = []
        self.reason: words.FinishReason = "stop"

    def choice(self, index: int, with_logprobs: bool) -> wire.Choice:
        message = wire.AnswerMessage(content="".join(self.content))
        if any(self.reasoning):
            message.reasoning_content = message.reasoning = "".join(self.reasoning)
        if self.calls:
            message.content = message.content or None
            message.tool_calls = [
                wire.AnsweredToolCall(id, wire.CalledFunction(name, "".join(arguments)))
                for id, name, arguments in self.calls
            ]
        logprobs = wire.ChoiceLogprobs.of(self.logprobs) if with_logprobs else None
        return wire.Choice(index, message, self.reason, logprobs)
