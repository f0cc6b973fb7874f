"""The request and the response of `POST v1/embeddings`.

Format: https://platform.openai.com/docs/api-reference/embeddings.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.server.wire.openai.text_completion import Inputs
from mlx_notebook.server.wire.parameters.parameters import RequestParameters
from mlx_notebook.server.wire.parameters.unsupported_parameters import EMBEDDING, Unsupported


class EmbeddingRequest(RequestParameters, kw_only=True):
    """Texts, or their token ids, to embed.

    `dimensions` keeps that many leading components and normalises the vector again.
    `truncate_prompt_tokens` keeps that many leading tokens of each input (-1: as many as the model
    allows).
    """

    input: Inputs
    model: Annotated[str, Meta(max_length=512)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    user: str | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return frozenset({"user"})

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


DECODER = msgspec.json.Decoder(EmbeddingRequest)
