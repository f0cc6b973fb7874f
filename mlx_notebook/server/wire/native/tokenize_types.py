"""The types of `tokenize`, `detokenize` and `apply-template`, which are llama.cpp's.

Format: https://github.com/ggml-org/llama.cpp/tree/master/tools/server#post-tokenize-tokenize-a-given-text.
In addition, every request has `model`, and `tokenize` accepts `messages` in place of `content`.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.protocol import ChatPrompt, Prompt, TextPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.openai.chat_messages import RequestMessage, engine_messages
from mlx_notebook.server.wire.openai.chat_request import ReasoningEffort, template_kwargs
from mlx_notebook.server.wire.openai.tools import DescribedChatTool, template_tools
from mlx_notebook.server.wire.parameters.sampling_parameters import TokenId

_ModelName = Annotated[str, Meta(max_length=512)]


class TemplateRequest(Struct, kw_only=True):
    """A chat to render with the model's chat template."""

    messages: Annotated[list[RequestMessage], Meta(min_length=1)]
    tools: list[DescribedChatTool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None
    add_generation_prompt: bool = True
    model: _ModelName | None = None

    def prompt(self) -> ChatPrompt:
        """Return the prompt that the engine renders.

        Raises
        ------
        InvalidRequest
            The messages or the tools are invalid.
        """
        return _chat(self.messages, self)


class TokenizeRequest(Struct, kw_only=True):
    """A text or a chat to tokenize.

    `add_special` adds the tokenizer's special tokens to a text; a chat gets them from its template.
    A text can have up to 2**20 characters, or eight per token of the model's context if that is
    more.
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
        """Return the prompt that the engine tokenizes.

        Raises
        ------
        InvalidRequest
            There is not exactly one of `content` and `messages`, or the chat is invalid.
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
    """Token ids to convert to text."""

    tokens: list[TokenId]
    model: _ModelName | None = None


class TokenPiece(Struct):
    """A token and its text. Bytes that are not a complete character become U+FFFD."""

    id: int
    piece: str


class TokenizeResponse(Struct):
    """The tokens: ids, or ids and texts if `with_pieces` is set."""

    tokens: list[int | TokenPiece]


class DetokenizeResponse(Struct):
    """The text of the tokens."""

    content: str


class TemplateResponse(Struct):
    """The rendered chat."""

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
