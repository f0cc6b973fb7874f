"""Handle `v1/responses/{id}`: show, stream, delete and cancel a response, list its input."""

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.query import flag, one_of, page_after, several, whole_number
from mlx_notebook.server.api.responses.response_input import ResponsesBase
from mlx_notebook.server.errors import ApiError, InvalidRequest, NotFound
from mlx_notebook.server.identity import owner
from mlx_notebook.server.responses.response_store import PREFIX, Item
from mlx_notebook.server.wire.responses.response_object import DeletedResponse, ItemList, Response
from mlx_notebook.server.wire.responses.responses_request import INCLUDABLE

_MAX_LIMIT = 100


class StoredResponseBase(ResponsesBase):
    """Base of the routes of one response."""

    async def found(self, user: str, id: str) -> Response | bytes:
        """Return a response of this user: an object if it is running, JSON if it is stored.

        Raises
        ------
        NotFound
            If there is none.
        """
        run = self.services.responses.find(user, id)
        if run is not None:
            return run.response
        store = self.services.responses.store
        has = store.enabled and id.startswith(PREFIX)
        body = await store.get(user, id) if has else None
        if body is None:
            raise not_found(id)
        return body

    def answer_with(self, response: Response | bytes) -> None:
        """Answer with a response."""
        if isinstance(response, bytes):
            self.finish(response)
        else:
            self.answer(response)


class ResponseHandler(StoredResponseBase):
    """Show, stream and delete one response."""

    endpoint = "v1/responses/{id}"

    @web.authenticated
    @authorized
    @ends_with_client
    async def get(self, id: str) -> None:
        """Answer with the response, or with the events of a background response."""
        user = await owner(self)
        several(self, "include", INCLUDABLE)
        streamed, padded = flag(self, "stream"), flag(self, "include_obfuscation")
        after = whole_number(self, "starting_after", -1, -1)
        if padded:
            self.report_ignored("include_obfuscation")
        response = await self.found(user, id)
        if not streamed:
            self.answer_with(response)
            return
        run = self.services.responses.find(user, id)
        if run is None or not run.response.background:
            raise InvalidRequest(
                "Only responses with background=true can be streamed again, until some minutes "
                "after their end. Leave 'stream' out to get the whole response.",
                param="stream",
                code="not_streamable",
            )
        await self.follow(run, after)

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Delete it."""
        has = id.startswith(PREFIX)
        if not (has and await self.services.responses.delete(await owner(self), id)):
            raise not_found(id)
        self.answer(DeletedResponse(id))


class CancelResponseHandler(StoredResponseBase):
    """Cancel a background response."""

    endpoint = "v1/responses/{id}/cancel"

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Cancel it, and answer with what there is of it. One that has ended stays as it is."""
        user = await owner(self)
        response = await self.found(user, id)
        if not _is_background(response):
            raise InvalidRequest(
                "Only responses with background=true can be cancelled here. To cancel another one, "
                "close its connection or POST mlx/cancel/{id}.",
                code="not_cancellable",
            )
        run = self.services.responses.find(user, id)
        if run is not None:
            await self.services.responses.cancel(run)
        self.answer_with(response)


class InputItemsHandler(StoredResponseBase):
    """List the input items of a response, with those of the turns before it."""

    endpoint = "v1/responses/{id}/input_items"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with a page of items, newest first unless `order` is `asc`."""
        user = await owner(self)
        limit = whole_number(self, "limit", 20, 1, _MAX_LIMIT)
        order = one_of(self, "order", "desc", ("asc", "desc"))
        several(self, "include", INCLUDABLE)
        response = await self.found(user, id)
        items = await self._items(user, id, response)
        if order == "desc":
            items.reverse()
        after = self.get_query_argument("after", "")
        items = page_after(items, [item["id"] for item in items], after, "item")
        page = items[:limit]
        self.answer(
            ItemList(
                data=page,
                first_id=page[0]["id"] if page else None,
                last_id=page[-1]["id"] if page else None,
                has_more=len(items) > limit,
            )
        )

    async def _items(self, user: str, id: str, response: Response | bytes) -> list[Item]:
        store = self.services.responses.store
        if isinstance(response, bytes):
            return await store.input_items(user, id)
        run = self.services.responses.find(user, id)
        previous = response.previous_response_id
        before = await store.conversation(user, previous) if previous else []
        return before + (run.input_items if run is not None else [])


def _is_background(response: Response | bytes) -> bool:
    if isinstance(response, Response):
        return response.background
    return bool(msgspec.json.decode(response, type=_Stored).background)


class _Stored(msgspec.Struct):
    background: bool = False


def not_found(id: str) -> ApiError:
    """Return the error for a response that this user does not have."""
    return NotFound(f"There is no response {id[:200]!r}.", code="response_not_found")
