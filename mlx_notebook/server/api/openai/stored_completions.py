"""Handle stored chat completions: list, show, update and delete them."""

import re

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.generation import GenerationHandler
from mlx_notebook.server.api.http.query import one_of, page_after, whole_number
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.identity import owner
from mlx_notebook.server.responses.completion_store import CompletionQuery
from mlx_notebook.server.wire.openai.stored_completion_types import (
    UPDATE,
    CompletionPage,
    DeletedCompletion,
    MessagePage,
)

_MAX_LIMIT = 100
_MAX_METADATA = 16
_METADATA = re.compile(r"metadata\[(?P<key>.+)\]", re.DOTALL)
_ORDERS = ("asc", "desc")


class StoredCompletionsHandler(GenerationHandler):
    """List the stored completions of a user."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a page of them, oldest first unless `order` is `desc`."""
        page = CompletionQuery(
            limit=whole_number(self, "limit", 20, 1, _MAX_LIMIT),
            descending=one_of(self, "order", "asc", _ORDERS) == "desc",
            after=self.get_query_argument("after", ""),
            model=self.get_query_argument("model", ""),
            metadata=self._metadata(),
        )
        found = await self.services.responses.completions.page(await owner(self), page)
        shown = found[: page.limit]
        self.answer(
            CompletionPage(
                data=shown,
                first_id=shown[0].id if shown else None,
                last_id=shown[-1].id if shown else None,
                has_more=len(found) > page.limit,
            )
        )

    def _metadata(self) -> dict[str, str]:
        """Return the wanted metadata, given as `metadata[key]=value`."""
        wanted = {}
        for name in self.request.query_arguments:
            if found := _METADATA.fullmatch(name):
                wanted[found["key"]] = self.get_query_argument(name)
            elif name not in ("limit", "order", "after", "model"):
                self.report_ignored(name)
        if len(wanted) > _MAX_METADATA:
            raise InvalidRequest(
                f"'metadata' can name {_MAX_METADATA} keys at most.", param="metadata"
            )
        return wanted


class StoredCompletionHandler(GenerationHandler):
    """Show, update and delete one stored completion."""

    endpoint = "v1/chat/completions/{id}"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with the completion."""
        self.answer(await self.services.responses.completions.get(await owner(self), id))

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Replace its metadata."""
        update = self.decoded(UPDATE)
        completions = self.services.responses.completions
        self.answer(await completions.update(await owner(self), id, update.metadata or {}))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Delete it."""
        await self.services.responses.completions.delete(await owner(self), id)
        self.answer(DeletedCompletion(id))


class StoredMessagesHandler(GenerationHandler):
    """List the messages of a stored completion's request."""

    endpoint = "v1/chat/completions/{id}/messages"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with a page of them, oldest first unless `order` is `desc`."""
        limit = whole_number(self, "limit", 20, 1, _MAX_LIMIT)
        order = one_of(self, "order", "asc", _ORDERS)
        messages = await self.services.responses.completions.messages(await owner(self), id)
        if order == "desc":
            messages.reverse()
        after = self.get_query_argument("after", "")
        rest = page_after(messages, [message["id"] for message in messages], after, "message")
        shown = rest[:limit]
        self.answer(
            MessagePage(
                data=shown,
                first_id=shown[0]["id"] if shown else None,
                last_id=shown[-1]["id"] if shown else None,
                has_more=len(rest) > limit,
            )
        )
