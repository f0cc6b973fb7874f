"""Handle `POST v1/embeddings`."""

import base64
import struct

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import Embed, Embedded
from mlx_notebook.server.api.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.user_rules import begin_request, may_evict
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.identity import owner
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.upstreams.upstream_request import not_at_upstream
from mlx_notebook.server.upstreams.upstream_settings import SEPARATOR
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.openai import embedding_types as wire
from mlx_notebook.server.wire.openai.text_completion import separate_inputs


class EmbeddingsHandler(ApiHandler):
    """Embed texts."""

    endpoint = "v1/embeddings"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with one vector for each input."""
        request = self.decoded(wire.DECODER)
        inputs = separate_inputs(request.input, "input")
        entry = await find_model(self, request.model)
        id = new_id("embd-")
        self.set_header("x-request-id", id)
        if entry.upstream is not None:
            embedded = await self._embedded_at_upstream(id, entry, request, inputs)
        else:
            command = Embed(
                id=id,
                model=entry.name,
                path=str(entry.path),
                options=entry.options,
                inputs=inputs,
                dimensions=request.dimensions,
                truncate=request.truncate_prompt_tokens,
                user=self.user.name,
                evict=may_evict(self, entry.name),
            )
            embedded = await self._embedded(command)
        begin_request(self).take_tokens(embedded.tokens)
        metrics.EMBEDDED_TOKENS.labels(entry.name).inc(embedded.tokens)
        usage, user = self.services.engine.usage, await owner(self)
        usage.begin(user)
        usage.end(user, "finished", embedded.tokens, 0, 0)
        encode = _to_base64 if request.encoding_format == "base64" else _to_numbers
        self.answer(
            wire.EmbeddingList(
                [
                    wire.EmbeddingObject(index, encode(vector))
                    for index, vector in enumerate(embedded.vectors)
                ],
                request.model or entry.name,
                wire.EmbeddingUsage(embedded.tokens, embedded.tokens),
            )
        )

    async def _embedded(self, command: Embed) -> Embedded:
        try:
            embedded = await self.services.engine.embed(command, await owner(self))
        except ApiError as error:
            if error.param == "prompt":
                error.param = "input"
            raise
        return embedded

    async def _embedded_at_upstream(
        self,
        id: str,
        entry: CatalogEntry,
        request: wire.EmbeddingRequest,
        inputs: list[str | list[int]],
    ) -> Embedded:
        """Return the embeddings that an upstream makes.

        Raises
        ------
        ApiError
            If it makes none, does not have a parameter, or fails.
        """
        assert entry.upstream is not None
        client = self.services.upstreams.client(entry.upstream)
        parameters = dict(self.passed_on)
        if request.dimensions is not None:
            parameters["dimensions"] = request.dimensions
        if request.truncate_prompt_tokens is not None:
            if "truncate_prompt_tokens" not in client.settings.extra:
                name = "truncate_prompt_tokens"
                raise not_at_upstream(entry.upstream, name, listed=name)
            parameters["truncate_prompt_tokens"] = request.truncate_prompt_tokens
        return await client.embed(id, entry.name.partition(SEPARATOR)[2], inputs, parameters)


def _to_numbers(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


def _to_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()
