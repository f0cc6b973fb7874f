"""Handle `tokenize`, `detokenize` and `apply-template`, which show what the model gets."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import TextPrompt
from mlx_notebook.server.api.generation import GenerationHandler
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.native import tokenize_types as wire
from mlx_notebook.server.wire.openai.tools import left_out_tools


class TokenizeHandler(GenerationHandler):
    """Turn a text or a chat into tokens."""

    endpoint = "tokenize"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the tokens."""
        request = self.decoded(wire.TOKENIZE_DECODER)
        self.services.limits.check_message_count(len(request.messages or ()))
        self.report_ignored(*left_out_tools(request.tools or []))
        try:
            tokenized = await self.tokenized(
                request.model,
                request.prompt(),
                add_special_tokens=request.add_special,
                pieces=request.with_pieces,
            )
        except ApiError as error:
            if error.param == "messages" and request.content is not None:
                error.param = "content"
            raise
        pieces = map(wire.TokenPiece, tokenized.tokens, tokenized.pieces)
        self.answer(wire.TokenizeResponse([*(pieces if request.with_pieces else tokenized.tokens)]))


class DetokenizeHandler(GenerationHandler):
    """Turn tokens into text."""

    endpoint = "detokenize"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the text."""
        request = self.decoded(wire.DETOKENIZE_DECODER)
        try:
            tokenized = await self.tokenized(request.model, TextPrompt(text=request.tokens))
        except ApiError as error:
            if error.param in ("messages", "prompt"):
                error.param = "tokens"
            raise
        self.answer(wire.DetokenizeResponse(tokenized.text))


class ApplyTemplateHandler(GenerationHandler):
    """Render a chat with the chat template of the model."""

    endpoint = "apply-template"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the text."""
        request = self.decoded(wire.TEMPLATE_DECODER)
        self.services.limits.check_message_count(len(request.messages))
        self.report_ignored(*left_out_tools(request.tools or []))
        tokenized = await self.tokenized(request.model, request.prompt())
        self.answer(wire.TemplateResponse(tokenized.text))
