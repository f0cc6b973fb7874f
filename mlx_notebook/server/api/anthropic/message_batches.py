"""Handle `v1/messages/batches`: Anthropic's batches of messages, over the store of all batches."""

import time
from datetime import UTC, datetime

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.anthropic.messages import AnthropicHandler
from mlx_notebook.server.api.http.query import whole_number
from mlx_notebook.server.api.in_process.request_sender import sender_of
from mlx_notebook.server.batches.batch_record import BatchRecord, WaitingLine
from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.identity import owner
from mlx_notebook.server.wire.anthropic import message_batch as wire
from mlx_notebook.server.wire.ids import new_id

_PREFIX = "msgbatch_"
_DAY = 24 * 3600
_MAX_LIMIT = 1000
# Answers that are read and sent at a time.
_ANSWERS = 64
RESULTS_TYPE = "application/x-jsonl"


class MessageBatchesHandler(AnthropicHandler):
    """Create and list message batches."""

    endpoint = "v1/messages/batches"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Create a batch, and answer with it."""
        request = self.decoded(wire.DECODER)
        lines, seen = [], set()
        for number, each in enumerate(request.requests, 1):
            place, body = f"requests[{number - 1}]", bytes(each.params)
            if each.custom_id in seen:
                raise InvalidRequest(
                    f"'{place}.custom_id' is {each.custom_id!r}, as that of another request.",
                    param=f"{place}.custom_id",
                    code="invalid_value",
                )
            if not body.startswith(b"{"):
                raise InvalidRequest(
                    f"'{place}.params' must be an object.",
                    param=f"{place}.params",
                    code="invalid_value",
                )
            seen.add(each.custom_id)
            lines.append(WaitingLine(number, each.custom_id, body))
        now = time.time()
        record = BatchRecord(
            id=new_id(_PREFIX),
            kind="anthropic",
            endpoint="v1/messages",
            sender=await sender_of(self),
            status="in_progress",
            expires_at=now + _DAY,
            times={"in_progress": now},
            total=len(lines),
        )
        await self.services.batches.create(record, lines)
        self.answer(_shown(record))

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a page of the user's batches, newest first."""
        limit = whole_number(self, "limit", 20, 1, _MAX_LIMIT)
        after = self.get_query_argument("after_id", "")
        before = self.get_query_argument("before_id", "")
        if after and before:
            raise InvalidRequest("Send 'after_id' or 'before_id', not both.", param="before_id")
        found = await self.services.batches.store.page(
            await owner(self), "anthropic", limit=limit, after=after, before=before
        )
        if found is None:
            name, id = ("after_id", after) if after else ("before_id", before)
            raise InvalidRequest(f"There is no batch {id[:200]!r} in it.", param=name)
        shown = [_shown(record) for record in found[:limit]]
        if before:
            shown.reverse()
        self.answer(
            wire.MessageBatchPage(
                data=shown,
                first_id=shown[0].id if shown else None,
                last_id=shown[-1].id if shown else None,
                has_more=len(found) > limit,
            )
        )


class MessageBatchBase(AnthropicHandler):
    """Base of the routes of one message batch."""

    async def found(self, id: str) -> BatchRecord:
        """Return a batch of the user.

        Raises
        ------
        NotFound
            If there is none with this id.
        """
        record = await self.services.batches.store.get(await owner(self), "anthropic", id)
        if record is None:
            raise NotFound(f"There is no batch {id[:200]!r}.", code="batch_not_found")
        return record

    async def found_ended(self, id: str) -> BatchRecord:
        """Return a batch of the user that has ended.

        Raises
        ------
        ApiError
            If there is none, or it has not ended.
        """
        record = await self.found(id)
        if not record.ended:
            raise InvalidRequest(
                f"The batch {record.id} has not ended. Wait for it, or cancel it.",
                code="batch_not_ended",
            )
        return record


class MessageBatchHandler(MessageBatchBase):
    """Show and delete one message batch."""

    endpoint = "v1/messages/batches/{id}"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with the batch."""
        self.answer(_shown(await self.found(id)))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Delete it with its results, once it has ended."""
        record = await self.found_ended(id)
        await self.services.batches.store.delete(record.id)
        self.answer(wire.DeletedMessageBatch(record.id))


class CancelMessageBatchHandler(MessageBatchBase):
    """Cancel one message batch."""

    endpoint = "v1/messages/batches/{id}/cancel"

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Cancel it. One that has ended stays as it is."""
        record = await self.found(id)
        if not record.ended:
            record = await self.services.batches.cancel(record)
        self.answer(_shown(record))


class MessageBatchResultsHandler(MessageBatchBase):
    """Return the results of one message batch."""

    endpoint = "v1/messages/batches/{id}/results"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with a line of JSON for each request."""
        record = await self.found_ended(id)
        self.set_header("Content-Disposition", f'attachment; filename="{record.id}.jsonl"')
        self.set_header("Content-Type", RESULTS_TYPE)
        last, store = 0, self.services.batches.store
        while answers := await store.answers(record.id, last, _ANSWERS):
            last = answers[-1][0]
            self.write(b"".join(answer + b"\n" for _, answer in answers))
            await self.flush()
        self.finish(set_content_type=RESULTS_TYPE)


def _shown(record: BatchRecord) -> wire.MessageBatch:
    counts, times, ended = record.counts, record.times, record.ended
    done = counts.succeeded + counts.errored + counts.cancelled + counts.expired
    status = "canceling" if record.status == "cancelling" else "in_progress"
    return wire.MessageBatch(
        id=record.id,
        processing_status="ended" if ended else status,  # type: ignore[arg-type]
        request_counts=wire.MessageBatchCounts(
            processing=record.total - done,
            succeeded=counts.succeeded,
            errored=counts.errored,
            canceled=counts.cancelled,
            expired=counts.expired,
        ),
        created_at=_timestamp(times["in_progress"]),
        expires_at=_timestamp(record.expires_at),
        ended_at=_timestamp(times[record.status]) if ended else None,
        cancel_initiated_at=_timestamp(times["cancelling"]) if "cancelling" in times else None,
        results_url=f"/v1/messages/batches/{record.id}/results" if ended else None,
    )


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
