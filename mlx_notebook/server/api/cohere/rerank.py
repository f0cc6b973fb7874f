"""Handle `POST v1/rerank` and `POST v2/rerank`."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import Rerank
from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.user_rules import begin_request, may_evict
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.identity import owner
from mlx_notebook.server.model_errors import rerank_not_supported
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.wire.cohere import rerank_types as wire
from mlx_notebook.server.wire.ids import new_id


class RerankHandler(ApiHandler):
    """Rank documents by their relevance to a query."""

    endpoint = "v1/rerank"
    version = "1"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the documents in the order of their scores."""
        request = self.decoded(wire.DECODER)
        entry = await find_model(self, request.model or await self._any_ranker(), use="rerank")
        if entry.upstream is not None or not entry.ranks:
            raise await self._rerank_not_supported(entry)
        id = new_id("rerank-")
        self.set_header("x-request-id", id)
        command = Rerank(
            id=id,
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            query=request.query,
            documents=request.texts,
            instruction=request.instruction,
            max_tokens_per_document=request.max_tokens_per_doc,
            truncate=request.truncation is not False,
            user=self.user.name,
            evict=may_evict(self, entry.name),
        )
        user = await owner(self)
        with self.report.operation("rerank", entry.name, id) as operation:
            reranked = await self.services.engine.rerank(command, user)
            operation.attributes = {"gen_ai.usage.input_tokens": reranked.tokens}
        begin_request(self).take_tokens(reranked.tokens)
        metrics.RERANKED_TOKENS.labels(entry.name).inc(reranked.tokens)
        usage = self.services.engine.usage
        usage.begin(user)
        usage.end(user, "finished", reranked.tokens, 0, 0)
        self.answer(wire.ranked(request, reranked, request.model or entry.name, self.version))

    async def _any_ranker(self) -> str | None:
        """Return a model that ranks, a resident one first; None if there is none."""
        resident = self.services.supervisor.telemetry.resident
        names = [one.name for one in await self.services.catalog.entries() if one.ranks]
        return min(names, key=lambda name: name not in resident, default=None)

    async def _rerank_not_supported(self, entry: CatalogEntry) -> ApiError:
        entries = await self.services.catalog.entries()
        return rerank_not_supported(entry.name, [one.name for one in entries if one.ranks])


class RerankV2Handler(RerankHandler):
    """The same for clients of the second version of Cohere's API."""

    endpoint = "v2/rerank"
    version = "2"
