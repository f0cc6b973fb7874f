"""Handle `v1/models`, which lists models for OpenAI's and for Anthropic's clients.

A request with the header `anthropic-version` comes from a client of Anthropic's API.
"""

from functools import cached_property

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.anthropic.messages import anthropic_error
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.http.query import several, whole_number
from mlx_notebook.server.api.native.catalog_list import loading_models
from mlx_notebook.server.api.user_rules import check_permission, may_use
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.wire.anthropic.model_info import ModelInfo, ModelPage
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.native import model_types as wire

_PAGING = ("limit", "after_id", "before_id", "lifecycle")
_LIFECYCLES = ("active", "deprecated", "retired")


class ListModelsBase(ApiHandler):
    """Base of these routes. They do not count as activity, since clients poll them."""

    _track_activity = False

    @property
    def is_anthropic(self) -> bool:
        """Whether the client uses Anthropic's API."""
        return "anthropic-version" in self.request.headers

    @cached_property
    def request_id(self) -> str:
        """Id of the request, which Anthropic's clients log."""
        return new_id("req_")

    def set_default_headers(self) -> None:
        """Add the id of the request for Anthropic's clients."""
        super().set_default_headers()
        if self.is_anthropic:
            self.set_header("request-id", self.request_id)

    def encoded_error(self, error: ApiError) -> bytes:
        """Return an error in the format of the client's API."""
        if self.is_anthropic:
            return anthropic_error(error, self.request_id)
        return super().encoded_error(error)

    async def describe(self, entries: list[CatalogEntry]) -> list[wire.ModelCard]:
        """Return models as `v1/models` shows them."""
        loaded = self.services.supervisor.telemetry.resident
        coming = set(loading_models(self.services))
        default = await self.services.catalog.default(await self.settings_user())

        def state(name: str) -> wire.ModelState:
            return "loaded" if name in loaded else "loading" if name in coming else "available"

        return [
            wire.ModelCard(
                id=entry.name,
                created=entry.facts.created,
                context_window=entry.context_window,
                state=state(entry.name),
                source=entry.source,
                default=entry.name == default,
                capabilities=entry.capabilities(loaded.get(entry.name)),
                owned_by=entry.upstream or "local",
            )
            for entry in entries
        ]


class ModelsHandler(ListModelsBase):
    """List the models that the user may use."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with these models, or with a page of them for Anthropic's clients."""
        limit = whole_number(self, "limit", 20, 1, 1000)
        lifecycles = several(self, "lifecycle", _LIFECYCLES)
        user = await self.settings_user()
        models = await self.describe(
            [entry for entry in await self.services.catalog.entries(user) if may_use(self, entry)]
        )
        if self.is_anthropic:
            self.answer(self._page(models, limit, lifecycles))
            return
        # OpenAI's API has no pages.
        self.report_ignored(*(name for name in _PAGING if self.get_query_arguments(name)))
        self.answer(wire.ModelList(models))

    def _page(self, models: list[wire.ModelCard], limit: int, lifecycles: list[str]) -> ModelPage:
        """Return the page that an Anthropic client asks for."""
        if lifecycles and "active" not in lifecycles:
            models = []
        names = [model.id for model in models]
        first, last = 0, len(models)
        if after := self.get_query_argument("after_id", ""):
            first = self._place(names, after, "after_id") + 1
        if before := self.get_query_argument("before_id", ""):
            last = self._place(names, before, "before_id")
            # The page that ends before that model, unless `after_id` sets its start.
            first = first if after else max(0, last - limit)
        page = models[first : min(last, first + limit)]
        # For a page before a model, this says whether there are more before the page.
        more = first > 0 if before and not after else first + len(page) < last
        return ModelPage(
            [ModelInfo.of(model) for model in page],
            more,
            page[0].id if page else None,
            page[-1].id if page else None,
        )

    def _place(self, names: list[str], name: str, param: str) -> int:
        if name not in names:
            raise InvalidRequest(f"There is no model {name[:200]!r}.", param=param)
        return names.index(name)


class ModelHandler(ListModelsBase):
    """Describe one model, whose name may contain slashes."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer with its description."""
        entry = await self.services.catalog.find(name, await self.settings_user())
        if entry.upstream is not None:
            self.services.upstreams.check_user(self.user, entry.upstream)
        check_permission(self, "use", entry.name)
        (model,) = await self.describe([entry])
        self.answer(ModelInfo.of(model) if self.is_anthropic else model)
