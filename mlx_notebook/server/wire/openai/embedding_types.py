"""The request and the response of `POST v1/embeddings`.

Format: https://platform.openai.com/docs/api-reference/embeddings.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import ImageSource, content_of
from mlx_notebook.server.wire.openai.chat_messages import RequestMessage, engine_messages
from mlx_notebook.server.wire.openai.text_completion import TextOrTokens, separate_inputs
from mlx_notebook.server.wire.parameters.parameters import RequestParameters
from mlx_notebook.server.wire.parameters.sampling_parameters import TokenId
from mlx_notebook.server.wire.parameters.unsupported_parameters import EMBEDDING, Unsupported


class EmbeddingItem(Struct):
    """A text, an image, or both together for one vector.

    An image is a data URI, base64, or a URL that the server's settings allow.
    """

    text: str | None = None
    image: str | None = None


# `inputs` refuses empty texts and reports the path. The OpenAPI schema says so, too.
_Text = Annotated[str, Meta(extra_json_schema={"minLength": 1})]
_Tokens = Annotated[list[TokenId], Meta(extra_json_schema={"minItems": 1})]
_Several = Annotated[
    list[_Text | TokenId | _Tokens | EmbeddingItem], Meta(min_length=1, max_length=2048)
]


class EmbeddingRequest(RequestParameters, kw_only=True):
    """Texts, their token ids, or images to embed.

    `messages` in place of `input` is a chat that becomes one vector, for models that embed images.

    `dimensions` keeps that many leading components and normalises the vector again.
    `truncate_prompt_tokens` keeps that many leading tokens of each input (-1: as many as the model
    allows).
    """

    input: _Text | EmbeddingItem | _Several | None = None
    messages: Annotated[list[RequestMessage], Meta(min_length=1)] | None = None
    model: Annotated[str, Meta(max_length=512)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    user: str | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return frozenset({"user"})

    def inputs(self) -> list[TextOrTokens] | list[ChatPrompt]:
        """Return the texts or their tokens; chats if there are images or messages.

        Raises
        ------
        InvalidRequest
            If there is no input, it is empty, or of several kinds.
        """
        if self.messages is not None:
            if self.input is not None:
                raise InvalidRequest("Send 'input' or 'messages', and not both.", param="messages")
            return [ChatPrompt(messages=engine_messages(self.messages))]
        if self.input is None:
            raise InvalidRequest(
                "The request needs 'input'.", param="input", code="missing_parameter"
            )
        given = self.input if isinstance(self.input, list) else [self.input]
        if not any(isinstance(item, EmbeddingItem) for item in given):
            return separate_inputs(self.input, "input")  # type: ignore[arg-type]
        alone = not isinstance(self.input, list)
        items = [_item(item, "input" if alone else f"input[{at}]") for at, item in enumerate(given)]
        if all(item.image is None for item in items):
            texts: list[TextOrTokens] = [item.text or "" for item in items]
            return texts
        return [_chat(item, "input" if alone else f"input[{at}]") for at, item in enumerate(items)]

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the parameters that this endpoint refuses."""
        return EMBEDDING


class EmbeddingObject(Struct):
    """The unit vector of one input, as numbers or as little-endian float32 in base64."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(Struct):
    """Token counts, summed over all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct):
    """The embeddings in the order of the inputs."""

    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


def _item(given: str | int | list[int] | EmbeddingItem, where: str) -> EmbeddingItem:
    if isinstance(given, int | list):
        raise InvalidRequest(
            f"'{where}' is tokens among texts and images: send texts.", param=where
        )
    item = EmbeddingItem(given) if isinstance(given, str) else given
    if not item.text and not item.image:
        raise InvalidRequest(f"'{where}' is empty.", param=where)
    return item


def _chat(item: EmbeddingItem, where: str) -> ChatPrompt:
    pieces = [ImageSource(item.image, f"{where}.image")] if item.image else []
    content = content_of([*pieces, *([item.text] if item.text else [])])
    return ChatPrompt(messages=[{"role": "user", "content": content}])


DECODER = msgspec.json.Decoder(EmbeddingRequest)
