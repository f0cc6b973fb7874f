"""`tokenize`, `detokenize` and `apply-template`, in llama.cpp's shapes.

Format: https://github.com/ggml-org/llama.cpp/tree/master/tools/server#post-tokenize-tokenize-a-given-text,
with `model` in each, and `messages` in place of `content` to see the tokens of a chat.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.protocol import ChatPrompt, Prompt, TextPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.openai.chat_messages import RequestMessage, engine_messages
from mlx_notebook.server.wire.openai.chat_request import ReasoningEffort, template_kwargs
from mlx_notebook.server.wire.openai.tools import DescribedChatTool, template_tools
from mlx_notebook.server.wire.sampling_parameters import TokenId

_ModelName = Annotated[str, Meta(max_length=512)]


class TemplateRequest(Struct, kw_only=True):
    """A chat, to be shown as the text that the model is fed."""

    messages: Annotated[list[RequestMessage], Meta(min_length=1)]
    tools: list[DescribedChatTool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None
    add_generation_prompt: bool = True
    model: _ModelName | None = None

    def prompt(self) -> ChatPrompt:
        """Return what the engine is to render.

        Raises:
            InvalidRequest: The messages or the tools are not right.
        """
        return _chat(self.messages, self)


class TokenizeRequest(Struct, kw_only=True):
    """A text, or a chat, to be shown as tokens.

    `add_special` adds what the model's tokenizer puts around every text; a chat has all that it
    needs from its template. The text may have a million characters (2**20), or eight for each token
    of the model's context where that is more.
    """

    content: str | None = None
    messages: Annotated[list[RequestMessage], Meta(min_length=1)] | None = None
    tools: list[DescribedChatTool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None
    add_generation_prompt: bool = True
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False
    model: _ModelName | None = None

    def prompt(self) -> Prompt:
        """Return what the engine is to tokenize.

        Raises:
            InvalidRequest: There is not exactly one of text and chat, or the chat is not right.
        """
        if not self.parse_special:
            raise InvalidRequest(
                "'parse_special' cannot be false on this server: leave it out.",
                param="parse_special",
                code="unsupported_parameter",
            )
        if (self.content is None) == (self.messages is None):
            raise InvalidRequest(
                "The request needs either 'content' or 'messages'.",
                param="content",
                code="missing_parameter",
            )
        if self.messages is not None:
            return _chat(self.messages, self)
        return TextPrompt(text=self.content or "")


class DetokenizeRequest(Struct, kw_only=True):
    """Tokens, to be shown as text."""

    tokens: list[TokenId]
    model: _ModelName | None = None


class TokenPiece(Struct):
    """A token and its own text; bytes that are no whole character read as U+FFFD."""

    id: int
    piece: str


class TokenizeResponse(Struct):
    """The tokens of a text: ids, or ids and pieces where `with_pieces` is set."""

    tokens: list[int | TokenPiece]


class DetokenizeResponse(Struct):
    """The text of tokens."""

    content: str


class TemplateResponse(Struct):
    """What a chat becomes for the model."""

    prompt: str


def _chat(messages: list[RequestMessage], request: TemplateRequest | TokenizeRequest) -> ChatPrompt:
    return ChatPrompt(
        messages=engine_messages(messages),
        tools=template_tools(request.tools or []),
        template_kwargs=template_kwargs(request.chat_template_kwargs, request.reasoning_effort),
        add_generation_prompt=request.add_generation_prompt,
    )


TOKENIZE_DECODER = msgspec.json.Decoder(TokenizeRequest)
DETOKENIZE_DECODER = msgspec.json.Decoder(DetokenizeRequest)
TEMPLATE_DECODER = msgspec.json.Decoder(TemplateRequest)
