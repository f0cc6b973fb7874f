"""Create, run and cancel batches for handlers, and go on with those of an earlier server."""

import asyncio
import time
from collections.abc import Callable, Sequence
from logging import Logger
from pathlib import Path

from mlx_notebook.server.batches.batch_database import BatchDatabase
from mlx_notebook.server.batches.batch_holder import BatchHolder
from mlx_notebook.server.batches.batch_record import BatchProgress, BatchRecord, WaitingLine
from mlx_notebook.server.batches.batch_runner import BatchRunner, SendLine
from mlx_notebook.server.batches.batch_store import BatchStore
from mlx_notebook.server.batches.file_store import FileStore
from mlx_notebook.server.errors import ApiError, InvalidRequest, Unavailable


class BatchService:
    """Files and batches.

    Parameters
    ----------
    folder
        Folder for the database, and for the lock files of servers.
    max_bytes
        Size of all files and batches of a user together, in bytes; 0 for none.
    send
        Answers a line of a batch.
    places
        How many lines run at a time.
    log
        Logger for what fails.
    changed
        Called when a batch begins, goes on or ends.

    Attributes
    ----------
    files, store
        The files, and the batches.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        send: SendLine,
        places: int,
        log: Logger,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = BatchDatabase(folder / "batches.sqlite3", max_bytes=max_bytes, log=log)
        self._holder = BatchHolder(folder)
        self._log = log
        self.files = FileStore(self._database)
        self.store = BatchStore(self._database, self._holder.name)
        self._runner = BatchRunner(self.store, self.files, send, places, log, changed)
        self._adoption: asyncio.Task[None] | None = None

    def resume(self) -> None:
        """Go on with the batches that an earlier server has left."""
        if self._adoption is None and self._database.max_bytes and self._database.exists:
            self._adoption = asyncio.create_task(self._adopt())

    @property
    def running(self) -> list[BatchProgress]:
        """The batches that run, oldest first."""
        return self._runner.running

    async def create(self, record: BatchRecord, lines: Sequence[WaitingLine] = ()) -> None:
        """Keep a new batch and run it.

        Raises
        ------
        ApiError
            If it cannot be kept.
        """
        try:
            self._holder.hold()
        except OSError as error:
            raise Unavailable(
                f"Batches cannot be kept in the server's data directory: {error}.",
                code="files_unavailable",
            ) from None
        await self.store.create(record, lines)
        self._runner.start(record)

    async def cancel(self, record: BatchRecord) -> BatchRecord:
        """Cancel a batch, and return it as it is then. Its lines in flight stop soon.

        Raises
        ------
        InvalidRequest
            If it has ended.
        """

        def change(record: BatchRecord) -> None:
            if record.status in ("validating", "in_progress"):
                record.enter("cancelling", time.time())
            elif record.status != "cancelling":
                raise InvalidRequest(
                    f"The batch {record.id} is {record.status}, so that it cannot be cancelled.",
                    code="not_cancellable",
                )

        changed = await self.store.change(record.id, change)
        self._runner.cancel(record.id)
        changed.counts = record.counts
        return changed

    async def close(self) -> None:
        """Stop all batches, which another server may go on with, and close the database."""
        if self._adoption is not None:
            self._adoption.cancel()
            await asyncio.wait([self._adoption])
        await self._runner.close()
        self._holder.release()
        await self._database.close()

    async def _adopt(self) -> None:
        """Go on with the batches that have not ended and whose server is gone."""
        try:
            self._holder.hold()
            records = await self.store.adopt(self._holder.is_gone)
        except (ApiError, OSError) as error:
            self._log.error("Batches of an earlier server cannot go on: %s", error)
            return
        for record in records:
            self._log.info("The batch %s goes on.", record.id)
            self._runner.start(record)
