"""What `embed` asks about rows: their vectors, for many texts in one request."""

import base64
from collections.abc import Sequence
from typing import Any

from mlx_notebook.notebook.connection import clients
from mlx_notebook.notebook.errors import EngineFailed, NotebookError
from mlx_notebook.notebook.inputs.images import EncodedImage
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.answer_cache import AnswerCache
from mlx_notebook.notebook.tables.row_loop import RowAnswer, RowRequest


class RowEmbedder:
    """Asks a model for the vectors of texts and images. They are little-endian float32, as bytes.

    Parameters
    ----------
    server, model
        Who answers.
    dimensions
        How many components a vector has; None for as many as the model gives.
    """

    together = 64

    def __init__(self, server: Server, model: str, *, dimensions: int | None) -> None:
        self._server, self._model = server, model
        self._settings = {} if dimensions is None else {"dimensions": dimensions}
        self._client: Any = clients.async_client_of(server, max_retries=0, timeout=None)

    def key(self, request: RowRequest) -> str:
        """Return the key of a row's vector."""
        return AnswerCache.key("embedding", self._model, self._settings, _input(request))

    def kept(self, answer: RowAnswer) -> dict[str, Any]:
        """Return a vector as JSON values."""
        return {"vector": base64.b64encode(answer.value).decode(), "tokens": answer.tokens}

    def recalled(self, kept: dict[str, Any]) -> RowAnswer:
        """Return the vector that `kept` describes."""
        return RowAnswer(value=base64.b64decode(kept["vector"]), tokens=kept["tokens"])

    def is_final(self, error: NotebookError) -> bool:
        """Whether a failure would be the same again."""
        return False

    async def ask(self, requests: Sequence[RowRequest], attempt: int) -> list[RowAnswer]:
        """Ask for the vectors of some rows."""
        with clients.translated_errors(self._server):
            answer = await self._client.embeddings.create(
                model=self._model,
                input=[_input(request) for request in requests],
                encoding_format="base64",
                **self._settings,
            )
        vectors = {one.index: one.embedding for one in answer.data}
        if sorted(vectors) != list(range(len(requests))):
            raise EngineFailed("The server sent another number of vectors than of texts.")
        # The server counts the tokens of all texts together.
        tokens, more = divmod(answer.usage.prompt_tokens, len(requests))
        return [
            RowAnswer(value=base64.b64decode(vectors[i]), tokens=tokens + (i < more))
            for i in range(len(requests))
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _input(request: RowRequest) -> Any:
    """Return a row as the server takes it: a text, or an image with or without a text."""
    if not request.images:
        return request.prompt
    [image] = request.images
    shown = {"image": EncodedImage.of(image).part["image_url"]["url"]}
    return {**shown, "text": request.prompt} if request.prompt else shown
