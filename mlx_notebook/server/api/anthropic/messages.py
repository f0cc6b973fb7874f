"""`POST v1/messages`, whole or streamed, and `v1/messages/count_tokens`: Anthropic's API.

Format: https://docs.anthropic.com/en/api/messages.
"""

from functools import cached_property

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.anthropic.message_writer import MessageWriter
from mlx_notebook.server.api.base import ends_with_client
from mlx_notebook.server.api.generation import GenerationHandler, local_options
from mlx_notebook.server.api.unknown_route import UnknownRouteHandler
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.anthropic.message_response import (
    ErrorDetails,
    ErrorObject,
    MessageError,
    MessageResponse,
    MessageTokensCount,
    MessageUsage,
    encode_event,
)
from mlx_notebook.server.wire.anthropic.messages_request import COUNT_DECODER, DECODER
from mlx_notebook.server.wire.ids import new_id

# https://docs.anthropic.com/en/api/errors
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


class AnthropicHandler(GenerationHandler):
    """Base of these routes: errors in Anthropic's words, and a `request-id` on every answer."""

    @cached_property
    def request_id(self) -> str:
        """The request's name in the log of a client."""
        return new_id("req_")

    def set_default_headers(self) -> None:
        """Add the request's id."""
        super().set_default_headers()
        self.set_header("request-id", self.request_id)

    def encoded_error(self, error: ApiError) -> bytes:
        """Return Anthropic's error object."""
        return anthropic_error(error, self.request_id)


def anthropic_error(error: ApiError, request_id: str) -> bytes:
    """Return an error in Anthropic's words, as JSON."""
    status, message = error.status_code, error.message
    kind = _KINDS.get(status, "api_error" if status >= 499 else "invalid_request_error")
    if error.code == "invalid_api_key":
        message = (
            "Send the Jupyter server's token as the API key: 'x-api-key: <token>' "
            "(api_key=... in Anthropic's client). `jupyter server list` shows it."
        )
    unsupported: list[str] | None = [] if error.code == "thread_unsupported_request" else None
    told = ErrorObject(kind, message, ErrorDetails(error.code, unsupported))
    return msgspec.json.encode(MessageError(told, request_id))


class MessagesHandler(AnthropicHandler):
    """Continues a conversation."""

    endpoint = "v1/messages"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a message, or with its events as they are made."""
        request = self.decoded(DECODER)
        self.services.limits.check_message_count(len(request.messages))
        command = await self.command(
            new_id("msg_"),
            request.model,
            request.prompt(),
            request.sampling(),
            tool_choice=request.choice(),
            output_format=request.output_format(),
            reasoning_budget=request.reasoning_budget,
            **local_options(request),
        )
        answer = MessageResponse(
            id=command.id,
            model=request.model or command.model,
            content=[],
            usage=MessageUsage(0, 0, 0, 0),
        )
        writer = MessageWriter(
            answer,
            max_tokens=request.max_tokens,
            hides_reasoning=request.hides_reasoning,
            alternatives=request.prompt_logprobs or 0,
        )
        async with self.running(command) as stream:
            if request.stream:
                await self._stream(writer, stream)
            else:
                await self._whole(writer, stream)

    async def _whole(self, writer: MessageWriter, stream: RequestStream) -> None:
        async for events in stream.batches():
            for event in events:
                list(writer.take(event))
        self.answer(writer.answer)

    async def _stream(self, writer: MessageWriter, stream: RequestStream) -> None:
        async with self.event_stream():
            async for events in stream.batches():
                data = [encode_event(told) for event in events for told in writer.take(event)]
                if data:
                    await self.send(b"".join(data))


class CountTokensHandler(AnthropicHandler):
    """Counts a conversation's tokens."""

    endpoint = "v1/messages/count_tokens"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with their number."""
        request = self.decoded(COUNT_DECODER)
        self.services.limits.check_message_count(len(request.messages))
        request.choice()
        tokenized = await self.tokenized(request.model, request.prompt())
        self.answer(MessageTokensCount(len(tokenized.tokens)))


class UnknownMessagesRouteHandler(AnthropicHandler, UnknownRouteHandler):
    """What else Anthropic has below `v1/messages`."""
