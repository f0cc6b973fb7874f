"""Handle Anthropic's API: `POST v1/messages`, also streamed, and `v1/messages/count_tokens`.

Format: https://docs.anthropic.com/en/api/messages.
"""

import time
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import msgspec
from jupyter_server.auth.decorator import authorized
from msgspec import UNSET, UnsetType
from tornado import web

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.api.anthropic.context_editing import edited
from mlx_notebook.server.api.anthropic.message_writer import MessageWriter
from mlx_notebook.server.api.generation import GenerationHandler, local_options
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.rate_headers import anthropic_headers
from mlx_notebook.server.api.http.unknown_route import UnknownRouteHandler
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.users.rate_limiter import RateState
from mlx_notebook.server.wire.anthropic.cache_marks import has_cache_marks
from mlx_notebook.server.wire.anthropic.context_edits import AppliedEdits, CountedEdits
from mlx_notebook.server.wire.anthropic.message_response import (
    ErrorDetails,
    ErrorObject,
    MessageError,
    MessageResponse,
    MessageTokensCount,
    MessageUsage,
    encode_event,
)
from mlx_notebook.server.wire.anthropic.messages_request import (
    COUNT_DECODER,
    DECODER,
    CountTokensRequest,
)
from mlx_notebook.server.wire.conversation import notices_on_order
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
    """Base of these routes: errors in Anthropic's format, and a `request-id` for each request."""

    is_openai = False
    own_names: ClassVar[Mapping[str, str]] = {
        "enable_thinking": "thinking",
        "thinking_budget": "thinking.budget_tokens",
    }

    @cached_property
    def request_id(self) -> str:
        """Id of the request, which clients log."""
        return new_id("req_")

    def set_default_headers(self) -> None:
        """Add the id of the request."""
        super().set_default_headers()
        self.set_header("request-id", self.request_id)

    def rate_headers(self, states: list[RateState]) -> dict[str, str]:
        """Return headers about the user's limits, with Anthropic's names."""
        return anthropic_headers(states, time.time())

    def encoded_error(self, error: ApiError) -> bytes:
        """Return Anthropic's error object."""
        return anthropic_error(error, self.request_id)

    async def edited_prompt(
        self, request: CountTokensRequest
    ) -> tuple[ChatPrompt, AppliedEdits | UnsetType]:
        """Return the prompt after the edits of `context_management`, and their effects.

        The client is told what the model does not get, and of system messages that are marked.

        Raises
        ------
        ApiError
            If the request is invalid, or the tokens cannot be counted.
        """
        prompt = request.prompt()
        self.report_ignored(*request.left_out)
        roles = (str(message.__struct_config__.tag) for message in request.messages)
        self.report_notices(notices_on_order(roles))
        if request.context_management is None:
            return prompt, UNSET
        return await edited(
            prompt, request.context_management, lambda changed: self.count(request, changed)
        )

    async def count(self, request: CountTokensRequest, prompt: ChatPrompt) -> int:
        """Return the tokens of a prompt."""
        return len((await self.tokenized(request.model, prompt)).tokens)


def anthropic_error(error: ApiError, request_id: str) -> bytes:
    """Return an error in Anthropic's format, as JSON."""
    status, message = error.status_code, error.message
    kind = _KINDS.get(status, "api_error" if status >= 499 else "invalid_request_error")
    if error.code == "invalid_api_key":
        message = message.replace("Authorization: Bearer <token>", "x-api-key: <token>")
        message = message.replace("OpenAI's client", "Anthropic's client")
    unsupported: list[str] | None = [] if error.code == "thread_unsupported_request" else None
    body = ErrorObject(kind, message, ErrorDetails(error.code, unsupported))
    return msgspec.json.encode(MessageError(body, request_id))


class MessagesHandler(AnthropicHandler):
    """Continue conversations."""

    endpoint = "v1/messages"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a message, or with a stream of its events."""
        request = self.decoded(DECODER)
        self.services.limits.check_message_count(len(request.messages))
        prompt, edits = await self.edited_prompt(request)
        command = await self.command(
            new_id("msg_"),
            request.model,
            prompt,
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
            context_management=edits,
        )
        writer = MessageWriter(
            answer,
            max_tokens=request.max_tokens,
            hides_reasoning=request.hides_reasoning,
            alternatives=request.prompt_logprobs or 0,
            has_cache_marks=has_cache_marks(self.body.content),
        )
        async with self.running(command) as stream:
            if request.stream:
                await self._stream(writer, stream)
            else:
                await self._respond(writer, stream)

    async def _respond(self, writer: MessageWriter, stream: RequestStream) -> None:
        async for events in stream.batches():
            for event in events:
                list(writer.handle(event))
        self.answer(writer.answer)

    async def _stream(self, writer: MessageWriter, stream: RequestStream) -> None:
        async with self.event_stream():
            async for events in stream.batches():
                data = [
                    encode_event(written) for event in events for written in writer.handle(event)
                ]
                if data:
                    await self.send(b"".join(data))


class CountTokensHandler(AnthropicHandler):
    """Count the tokens of a conversation."""

    endpoint = "v1/messages/count_tokens"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the number of tokens."""
        request = self.decoded(COUNT_DECODER)
        self.services.limits.check_message_count(len(request.messages))
        request.choice()
        prompt, _ = await self.edited_prompt(request)
        tokens = await self.count(request, prompt)
        if request.context_management is None:
            self.answer(MessageTokensCount(tokens))
            return
        whole = await self.count(request, request.prompt())
        self.answer(MessageTokensCount(tokens, CountedEdits(whole)))


class UnknownMessagesRouteHandler(AnthropicHandler, UnknownRouteHandler):
    """Answer requests for other routes of Anthropic's API."""
