"""Run batches: read their files, answer their lines, and end them.

Each batch is one task. It goes through the states of `batch_record`. Each step is in the store
before the next one begins, so that another server can go on where this one has stopped.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from logging import Logger

import anyio

from mlx_notebook.server.batches.batch_input import read_lines
from mlx_notebook.server.batches.batch_record import (
    BatchProgress,
    BatchRecord,
    BatchStatus,
    LineError,
    LineOutcome,
    Sender,
    WaitingLine,
)
from mlx_notebook.server.batches.batch_store import BatchStore
from mlx_notebook.server.batches.file_store import FileStore
from mlx_notebook.server.batches.line_answers import (
    LineAnswer,
    answered,
    failed,
    not_kept,
    not_run,
    outcome_of,
)
from mlx_notebook.server.batches.line_places import LinePlaces
from mlx_notebook.server.errors import ApiError, NotFound

SendLine = Callable[[Sender, str, bytes], Awaitable[LineAnswer]]
"""Answer a request of a user: the user, the route, and the body."""

# How often a line is tried on which the server or the engine fails.
MAX_ATTEMPTS = 3
# How long to wait for a store that cannot be used, for example because the disk is full.
_STORE_SECONDS = 10.0
# Lines that are read from the store at a time.
_READ_AHEAD = 64
_ENDS: dict[LineOutcome | None, BatchStatus] = {
    None: "completed",
    "cancelled": "cancelled",
    "expired": "expired",
}


class _Run:
    """A batch that runs.

    Attributes
    ----------
    waiting
        Lines to answer next.
    last
        The last line that was read from the store.
    done
        How many lines have ended.
    pause
        When to go on, on the clock of the loop.
    cancelled
        Whether its user has cancelled it.
    """

    def __init__(self, record: BatchRecord) -> None:
        self.record = record
        self.waiting: deque[WaitingLine] = deque()
        self.last = 0
        self.running = 0
        self.done = 0
        self.pause = 0.0
        self.cancelled = record.status == "cancelling"
        self.scope: anyio.CancelScope | None = None
        self.changed = asyncio.Event()

    @property
    def progress(self) -> BatchProgress:
        """How far it is."""
        record = self.record
        status = "cancelling" if self.cancelled and not record.ended else record.status
        return BatchProgress(
            record.id, record.owner, record.endpoint, status, self.done, record.total
        )

    def cancel(self) -> None:
        """Stop its lines."""
        self.cancelled = True
        if self.scope is not None:
            self.scope.cancel()

    def retry(self, line: WaitingLine, seconds: float) -> None:
        """Answer a line again after some time. The other lines wait too."""
        self.waiting.appendleft(line)
        self.pause = max(self.pause, anyio.current_time() + seconds)


class BatchRunner:
    """Run the batches of this server.

    Parameters
    ----------
    store, files
        Where batches and files are kept.
    send
        Answers a line.
    places
        How many lines run at a time.
    log
        Logger for batches that fail.
    changed
        Called when a batch begins, goes on or ends.
    """

    def __init__(
        self,
        store: BatchStore,
        files: FileStore,
        send: SendLine,
        places: int,
        log: Logger,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._files = files
        self._send = send
        self._places = LinePlaces(places)
        self._log = log
        self._changed = changed
        self._runs: dict[str, _Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def running(self) -> list[BatchProgress]:
        """The batches that run, oldest first."""
        return [run.progress for run in self._runs.values()]

    def start(self, record: BatchRecord) -> None:
        """Run a batch, from the state in which it is."""
        run = self._runs[record.id] = _Run(record)
        self._tasks[record.id] = asyncio.create_task(self._run(run))
        self._changed()

    def cancel(self, id: str) -> None:
        """Stop a batch whose record says that it is cancelled."""
        if (run := self._runs.get(id)) is not None:
            run.cancel()
            self._changed()

    async def close(self) -> None:
        """Stop all batches. They stay in the state in which they are."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, run: _Run) -> None:
        id = run.record.id
        try:
            if run.record.status == "validating":
                await self._validate(run)
            if not run.record.ended:
                stopped = await self._answer_lines(run)
                await self._finish(run, stopped)
        except ApiError as error:
            # The store has logged the reason.
            await self._fail(run, error.code, error.message)
        except Exception:
            self._log.exception("The batch %s failed.", id)
            message = "The server failed on this batch. Its log says why."
            await self._fail(run, "internal_error", message)
        finally:
            del self._runs[id], self._tasks[id]
            self._changed()

    async def _validate(self, run: _Run) -> None:
        """Read the lines of a batch from its file, or end it with what is wrong with them."""
        record = run.record
        lines: list[WaitingLine] = []
        try:
            _, content = await self._files.content(record.owner, record.input_file_id)
        except NotFound:
            message = f"The file {record.input_file_id!r} was deleted."
            errors = [LineError("file_not_found", message, None, "input_file_id")]
        else:
            lines, errors = await asyncio.to_thread(read_lines, content, record.endpoint)

        def begin(record: BatchRecord) -> None:
            if record.status == "validating":
                record.errors = errors
                record.total = len(lines)
                record.enter("failed" if errors else "in_progress", time.time())

        run.record = await self._store.begin(record.id, [] if errors else lines, begin)
        run.cancelled = run.cancelled or run.record.status == "cancelling"

    async def _answer_lines(self, run: _Run) -> LineOutcome | None:
        """Answer all lines. Return how those end that are left, if the batch is stopped before."""
        seconds = max(0.0, run.record.expires_at - time.time())
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as run.scope:
            if run.cancelled:
                run.scope.cancel()
            async with anyio.create_task_group() as group:
                while (line := await self._next(run)) is not None:
                    await self._places.take(run.record.owner)
                    run.running += 1
                    group.start_soon(self._answer, run, line)
        if not run.scope.cancelled_caught:
            return None
        return "cancelled" if run.cancelled else "expired"

    async def _next(self, run: _Run) -> WaitingLine | None:
        """Return the next line to answer, once it may run; None after the last one."""
        while True:
            if (wait := run.pause - anyio.current_time()) > 0:
                await anyio.sleep(wait)
            if not run.waiting:
                try:
                    if not run.last:
                        run.done = await self._store.count_ended(run.record.id)
                    found = await self._store.waiting(run.record.id, run.last, _READ_AHEAD)
                except ApiError:  # the store has logged why it cannot be used
                    run.pause = anyio.current_time() + _STORE_SECONDS
                    continue
                run.last = found[-1].number if found else run.last
                run.waiting.extend(found)
            if run.waiting:
                return run.waiting.popleft()
            if not run.running:
                return None
            # A line that runs may have to be answered again.
            run.changed.clear()
            await run.changed.wait()

    async def _answer(self, run: _Run, line: WaitingLine) -> None:
        """Answer a line in its place, and keep the answer, or let it wait to be answered again."""
        record = run.record
        try:
            answer = await self._send(record.sender, record.endpoint, line.request)
            if answer.retry_after is not None and await self._may_retry(record, line, answer):
                run.retry(line, answer.retry_after)
                return
            goes_on = await self._store.finish_line(
                record,
                line,
                outcome_of(answer),
                answered(record.kind, line.custom_id, answer),
                not_kept(record.kind, line.custom_id),
            )
            run.done += 1
            self._changed()
            if not goes_on:
                run.cancel()
        except ApiError:  # the store has logged why it cannot be used
            run.retry(line, _STORE_SECONDS)
        except Exception:
            self._log.exception("A request of the batch %s failed.", record.id)
            await self._keep_failure(run, line)
        finally:
            self._places.give_back(record.owner)
            run.running -= 1
            run.changed.set()

    async def _keep_failure(self, run: _Run, line: WaitingLine) -> None:
        record, message = run.record, "The server failed on this request. Its log says why."
        answer = failed(record.kind, line.custom_id, "internal_error", message)
        try:
            await self._store.finish_line(record, line, "errored", answer, answer)
            run.done += 1
        except ApiError:
            run.retry(line, _STORE_SECONDS)

    async def _may_retry(self, record: BatchRecord, line: WaitingLine, answer: LineAnswer) -> bool:
        """Whether to answer a line again. Only failures count, and not a full queue or a limit."""
        if answer.status < 500:
            return True
        line.attempts += 1
        await self._store.count_attempt(record.id, line.number)
        return line.attempts < MAX_ATTEMPTS

    async def _finish(self, run: _Run, stopped: LineOutcome | None) -> None:
        record, status = run.record, _ENDS[stopped]
        left: LineOutcome = stopped or "errored"
        if stopped is None:
            run.record = await self._store.change(
                record.id, lambda record: record.enter("finalizing", time.time())
            )
        run.record = await self._store.finish(
            record.id,
            left,
            lambda custom_id: not_run(record.kind, custom_id, left),
            lambda record: record.enter(status, time.time()),
        )

    async def _fail(self, run: _Run, code: str, message: str) -> None:
        def fail(record: BatchRecord) -> None:
            record.errors = [*record.errors, LineError(code, message)]
            record.enter("failed", time.time())

        with suppress(ApiError):  # the store has logged why it cannot be used
            await self._store.change(run.record.id, fail)
