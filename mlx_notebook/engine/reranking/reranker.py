"""What scores documents by a query, whichever kind of model does it."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.errors import ContextOverflow
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.protocol import Rerank

Scores = npt.NDArray[np.float32]
"""Shape (pairs,). Larger is more relevant; the sigmoid of a score lies between 0 and 1."""


@dataclass(frozen=True)
class Pair:
    """A query and a document as the model reads them.

    Attributes
    ----------
    tokens
        The tokens to feed.
    types
        The text that each token belongs to, 0 or 1, for models that ask for it.
    wanted
        Tokens of the document that were to be read.
    kept
        Those of them that fit.
    """

    tokens: list[int]
    types: list[int]
    wanted: int
    kept: int


class Reranker(ABC):
    """Scores documents by a query. `pairs` may be called in any thread."""

    @abstractmethod
    def pairs(self, command: Rerank) -> list[Pair]:
        """Tokenize the query with each document. Called on worker threads.

        Raises
        ------
        InvalidRequest
            If the command asks for what this model does not have.
        ContextOverflow
            If the query is too long, or a document is and may not be truncated.
        """

    @abstractmethod
    def score(self, batch: list[Pair], chunk: int) -> Generator[None, None, Scores]:
        """Return the score of each pair; it does not depend on the others.

        Yields after each `chunk` positions of longer pairs, if the model can go on from there.
        """


def check_texts(command: Rerank, limit: LengthLimit) -> None:
    """Refuse texts that are too long to be tokenized.

    Raises
    ------
    ContextOverflow
        If one is. `param` is its place in the request.
    """
    places = ((f"documents[{i}]", text) for i, text in enumerate(command.documents))
    for param, text in (("query", command.query), *places):
        try:
            limit.check(text)
        except ContextOverflow as error:
            error.param = param
            raise


def readable_tokens(
    command: Rerank, index: int, *, document: int, others: int, limit: int
) -> tuple[int, int]:
    """Return how many tokens of a document are to be read, and how many of them fit.

    Parameters
    ----------
    index
        The place of the document in the command.
    document, others
        Tokens of the document, and of all that stands beside it.
    limit
        Most tokens that the model reads.

    Raises
    ------
    ContextOverflow
        If the query leaves no room, or the document needs more and may not be truncated.
    """
    room = limit - others
    if room < 1:
        raise ContextOverflow(
            f"{command.model} reads {limit} tokens at most, and the query needs {others} with what "
            "stands around it. Shorten the query.",
            "query",
        )
    wanted = min(document, command.max_tokens_per_document or document)
    if wanted > room and not command.truncate:
        raise ContextOverflow(
            f"Document {index} has {document} tokens, and the query leaves room for {room} of the "
            f"{limit} that {command.model} reads. Shorten it, or allow 'truncation'.",
            f"documents[{index}]",
        )
    return wanted, min(wanted, room)
