"""The request and the response of `POST v1/rerank` and `POST v2/rerank`.

Formats: https://docs.cohere.com/reference/rerank and https://jina.ai/reranker. Cohere's response
tells tokens and warnings in `meta`, Jina's tells tokens in `usage`: this one has both.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlx_notebook.protocol import Reranked
from mlx_notebook.server.wire.parameters.parameters import RequestParameters
from mlx_notebook.server.wire.parameters.unsupported_parameters import RERANK, Unsupported

# More warnings would say nothing new.
_MOST_WARNINGS = 20


class TextDocument(Struct):
    """A document as an object. Fields beside `text` are not read."""

    text: str


class RerankRequest(RequestParameters, kw_only=True):
    """Documents to rank by their relevance to a query.

    `top_n` returns only so many results. `max_tokens_per_doc` reads only the first so many tokens
    of each document. Longer documents are cut to what the model takes, unless `truncation` is
    false. `instruction` says what is relevant, for models that take one. `raw_scores` returns
    scores as the model gives them, without a sigmoid.
    """

    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | TextDocument], Meta(min_length=1, max_length=2048)]
    model: Annotated[str, Meta(max_length=512)] | None = None
    top_n: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    truncation: bool | None = None
    instruction: Annotated[str, Meta(min_length=1)] | None = None
    raw_scores: bool | None = None
    user: str | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return frozenset({"user"})

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the parameters that this endpoint refuses."""
        return RERANK

    @property
    def texts(self) -> list[str]:
        """The texts of the documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


class RankedDocument(Struct):
    """A document and its place in the request; larger scores are more relevant."""

    index: int
    relevance_score: float
    document: TextDocument | UnsetType = UNSET


class RerankTokens(Struct):
    """Token counts as Cohere names them."""

    input_tokens: int
    output_tokens: int = 0


class RerankApiVersion(Struct):
    """The version of Cohere's API that was asked for."""

    version: str


class RerankMeta(Struct):
    """What Cohere's response says beside the results."""

    api_version: RerankApiVersion
    tokens: RerankTokens
    warnings: list[str] | UnsetType = UNSET


class RerankUsage(Struct):
    """Token counts as Jina names them."""

    prompt_tokens: int
    total_tokens: int


class RankedDocuments(Struct):
    """The documents, the most relevant first. Equal ones are in the order of the request."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: RerankUsage
    meta: RerankMeta


def ranked(request: RerankRequest, reranked: Reranked, model: str, version: str) -> RankedDocuments:
    """Return the response to a request, from the scores of its documents."""
    scores = reranked.scores if request.raw_scores else [*map(_sigmoid, reranked.scores)]
    # Scores that are not equal may have the same sigmoid.
    order = sorted(range(len(scores)), key=lambda index: (-reranked.scores[index], index))
    texts = request.texts if request.return_documents else None
    return RankedDocuments(
        reranked.id,
        model,
        [
            RankedDocument(
                index, scores[index], UNSET if texts is None else TextDocument(texts[index])
            )
            for index in order[: request.top_n]
        ],
        RerankUsage(reranked.tokens, reranked.tokens),
        RerankMeta(
            RerankApiVersion(version),
            RerankTokens(reranked.tokens),
            _warnings(reranked.truncated) or UNSET,
        ),
    )


def _sigmoid(score: float) -> float:
    # Neither branch overflows.
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))


def _warnings(truncated: Sequence[tuple[int, int, int]]) -> list[str]:
    """Say which documents were cut."""
    notices = [
        f"Only the first {kept} of {tokens} tokens of document {index} were read."
        for index, tokens, kept in truncated[:_MOST_WARNINGS]
    ]
    more = len(truncated) - len(notices)
    return [*notices, f"{more} more documents were cut."] if more else notices


DECODER = msgspec.json.Decoder(RerankRequest)
