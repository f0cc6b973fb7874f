"""Handle `v1/batches`: create, list, show and cancel batches of requests."""

import time

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.http.query import whole_number
from mlx_notebook.server.api.in_process.request_sender import sender_of
from mlx_notebook.server.batches.batch_record import BatchRecord
from mlx_notebook.server.batches.file_store import file_not_found
from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.identity import owner
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.openai import batch_types as wire

_PREFIX = "batch_"
_HOUR = 3600
_MAX_LIMIT = 100


class BatchesHandler(ApiHandler):
    """Create and list batches."""

    endpoint = "v1/batches"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Create a batch, and answer with it. Its file is read and answered after that."""
        request = self.decoded(wire.DECODER)
        hours = request.hours()
        files, user, id = self.services.batches.files, await owner(self), request.input_file_id
        try:
            file = await files.get(user, id)
        except NotFound:
            raise file_not_found(id, "input_file_id") from None
        if file.purpose != "batch":
            raise InvalidRequest(
                f"The file {id!r} has the purpose {file.purpose}. A batch needs a file with the "
                "purpose batch.",
                param="input_file_id",
                code="invalid_value",
            )
        now, expiry = time.time(), request.output_expires_after
        record = BatchRecord(
            id=new_id(_PREFIX),
            kind="openai",
            endpoint=request.endpoint.removeprefix("/"),
            sender=await sender_of(self),
            status="validating",
            expires_at=now + hours * _HOUR,
            input_file_id=file.id,
            window=request.completion_window,
            keep_seconds=None if expiry is None else expiry.seconds,
            metadata=request.metadata,
            times={"validating": now},
        )
        await self.services.batches.create(record)
        self.answer(_shown(record))

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a page of the user's batches, newest first."""
        limit = whole_number(self, "limit", 20, 1, _MAX_LIMIT)
        after = self.get_query_argument("after", "")
        store = self.services.batches.store
        found = await store.page(await owner(self), "openai", limit=limit, after=after)
        if found is None:
            raise InvalidRequest(f"There is no batch {after[:200]!r} in it.", param="after")
        shown = [_shown(record) for record in found[:limit]]
        self.answer(
            wire.BatchPage(
                data=shown,
                first_id=shown[0].id if shown else None,
                last_id=shown[-1].id if shown else None,
                has_more=len(found) > limit,
            )
        )


class BatchHandlerBase(ApiHandler):
    """Base of the routes of one batch."""

    async def found(self, id: str) -> BatchRecord:
        """Return a batch of the user.

        Raises
        ------
        NotFound
            If there is none with this id.
        """
        record = await self.services.batches.store.get(await owner(self), "openai", id)
        if record is None:
            raise batch_not_found(id)
        return record


class BatchHandler(BatchHandlerBase):
    """Show one batch."""

    endpoint = "v1/batches/{id}"

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with the batch."""
        self.answer(_shown(await self.found(id)))


class CancelBatchHandler(BatchHandlerBase):
    """Cancel one batch."""

    endpoint = "v1/batches/{id}/cancel"

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Cancel it. What is answered by then is in its files."""
        self.answer(_shown(await self.services.batches.cancel(await self.found(id))))


def batch_not_found(id: str) -> NotFound:
    """Return the error for a batch that a user does not have."""
    return NotFound(f"There is no batch {id[:200]!r}.", code="batch_not_found")


def _shown(record: BatchRecord) -> wire.BatchObject:
    times = {status: int(at) for status, at in record.times.items()}
    counts = record.counts
    failed = counts.errored + counts.expired + counts.cancelled
    errors = [wire.BatchErrorItem(**msgspec.structs.asdict(error)) for error in record.errors]
    return wire.BatchObject(
        id=record.id,
        endpoint=f"/{record.endpoint}",
        input_file_id=record.input_file_id,
        completion_window=record.window,
        status=record.status,
        created_at=int(record.times["validating"]),
        expires_at=int(record.expires_at),
        request_counts=wire.BatchRequestCounts(record.total, counts.succeeded, failed),
        errors=wire.BatchErrorList(errors) if errors else None,
        output_file_id=record.output_file_id,
        error_file_id=record.error_file_id,
        in_progress_at=times.get("in_progress"),
        finalizing_at=times.get("finalizing"),
        completed_at=times.get("completed"),
        failed_at=times.get("failed"),
        expired_at=times.get("expired"),
        cancelling_at=times.get("cancelling"),
        cancelled_at=times.get("cancelled"),
        metadata=record.metadata,
    )
