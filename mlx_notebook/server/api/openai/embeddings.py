"""Handle `POST v1/embeddings`."""

import base64

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.text_embedding import TextEmbedding, embedded_texts, to_numbers
from mlx_notebook.server.wire.openai import embedding_types as wire


class EmbeddingsHandler(ApiHandler):
    """Embed texts and images."""

    endpoint = "v1/embeddings"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with one vector for each input."""
        await self.embed()

    async def embed(self) -> None:
        """Embed the texts of the request.

        Raises
        ------
        ApiError
            If it is invalid, or cannot be run.
        """
        request = self.decoded(wire.DECODER)
        wanted = TextEmbedding(
            request.model,
            request.inputs(),
            request.dimensions,
            request.truncate_prompt_tokens,
        )
        model, embedded = await embedded_texts(self, wanted)
        encode = _to_base64 if request.encoding_format == "base64" else to_numbers
        self.answer(
            wire.EmbeddingList(
                [
                    wire.EmbeddingObject(index, encode(vector))
                    for index, vector in enumerate(embedded.vectors)
                ],
                request.model or model,
                wire.EmbeddingUsage(embedded.tokens, embedded.tokens),
            )
        )


def _to_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()
