"""Handle Ollama's `api/chat` and `api/generate`.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import FillPrompt, Generate, Prompt
from mlx_notebook.server.api.generation import Options
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.ollama.ollama_handler import OllamaStreamHandler
from mlx_notebook.server.engine.request_stream import KeepAlive, RequestStream
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.wire.conversation import notices_on_order
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.ollama import ollama_requests as wire
from mlx_notebook.server.wire.ollama.ollama_responses import line
from mlx_notebook.server.wire.ollama.ollama_writer import (
    OllamaChatWriter,
    OllamaGenerateWriter,
    OllamaWriter,
)
from mlx_notebook.server.wire.openai.tools import left_out_tools


class OllamaGenerationHandler(OllamaStreamHandler):
    """Base of both routes: from a request to its answer."""

    _writer: OllamaWriter[Any]

    def empty_line(self, text: str) -> bytes:
        """Return a part of the answer without text, which clients add to it."""
        return line(self._writer.part())

    async def generate(self, request: wire.OllamaRequest, prompt: Prompt | FillPrompt) -> None:
        """Answer a request, with a stream unless it wants none.

        Raises
        ------
        ApiError
            If the request is invalid, or cannot be run.
        """
        keeps = request.keeps
        options: Options = {
            "output_format": request.output_format(),
            "reasoning_budget": request.reasoning_budget,
        }
        command = await self.command(
            new_id("ollama-"),
            await self.known_name(request.model),
            prompt,
            request.sampling(),
            **options,
        )
        if request.think:
            await self._check_reasoning(command)
        self.keep(command.model, keeps, "keep_alive")
        async with self.running(command) as stream:
            if request.streams:
                await self._stream(stream)
            else:
                await self._respond(stream)
        await self.keep_or_unload()

    async def load_or_unload(self, request: wire.OllamaRequest) -> None:
        """Load the model of a request without a prompt, or unload it if `keep_alive` is 0."""
        name, keeps = await self.known_name(request.model), request.keeps
        if keeps == 0:
            await self.unload(name)
        else:
            self.keep((await self.load(name)).resident.model, keeps, "keep_alive")
            await self.keep_or_unload()
        answer = self._writer.part()
        answer.done, answer.done_reason = True, "unload" if keeps == 0 else "load"
        if self._headers_written:
            await self.send(line(answer))
            self._close()
        else:
            self.answer(answer)

    async def _check_reasoning(self, command: Generate) -> None:
        """Check that a model reasons, if its request asks for that.

        Raises
        ------
        InvalidRequest
            If it does not.
        """
        entry = await self.services.catalog.find(
            command.model, await self.settings_user(), use="text"
        )
        if entry.upstream is None and "reasoning" not in entry.capabilities(None):
            raise InvalidRequest(
                f"The model {entry.name!r} does not reason: leave 'think' out, or set it to false.",
                param="think",
                code="invalid_value",
            )

    async def _respond(self, stream: RequestStream) -> None:
        parts: list[Any] = []
        async for events in stream.batches():
            for event in events:
                parts += self._writer.parts(event)
        self.answer(self._writer.joined(parts))

    async def _stream(self, stream: RequestStream) -> None:
        async with self.event_stream():
            async for events in stream.batches():
                lines = [
                    self.empty_line(event.text)
                    if isinstance(event, KeepAlive)
                    else b"".join(map(line, self._writer.parts(event)))
                    for event in events
                ]
                if data := b"".join(lines):
                    await self.send(data)


class OllamaChatHandler(OllamaGenerationHandler):
    """Continue chats."""

    endpoint = "api/chat"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the next message, in parts unless `stream` is false."""
        request = self.decoded(wire.CHAT_DECODER)
        self.wants_stream = request.streams
        self._writer = OllamaChatWriter(request.model, self.arrived)
        if not request.messages:
            await self.load_or_unload(request)
            return
        self.services.limits.check_message_count(len(request.messages))
        self.report_ignored(*left_out_tools(request.tools or []))
        self.report_notices(notices_on_order(message.role for message in request.messages))
        await self.generate(request, request.prompt())


class OllamaGenerateHandler(OllamaGenerationHandler):
    """Answer single prompts."""

    endpoint = "api/generate"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a text, in parts unless `stream` is false."""
        request = self.decoded(wire.GENERATE_DECODER)
        self.wants_stream = request.streams
        self._writer = OllamaGenerateWriter(request.model, self.arrived)
        prompt = request.engine_prompt()
        if not request.prompt and not request.suffix:
            await self.load_or_unload(request)
            return
        try:
            await self.generate(request, prompt)
        except ApiError as error:
            if error.param == "messages":
                error.param = "prompt"
            raise
