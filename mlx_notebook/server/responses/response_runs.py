"""Responses that are being made, and those that were: on their way, in the background, stored."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from logging import Logger

import msgspec

from mlx_notebook.protocol import Generate
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.engine.request_stream import KeepAlive, RequestStream
from mlx_notebook.server.errors import ApiError, RequestCancelled, Unavailable
from mlx_notebook.server.responses.completion_store import CompletionStore
from mlx_notebook.server.responses.response_store import Item, ResponseStore
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.telemetry.request_traces import RequestOrigin
from mlx_notebook.server.wire.openai import response_events as told
from mlx_notebook.server.wire.openai.response_object import Response

# Events of background responses that have ended, for clients that come back for the rest.
_KEPT_SECONDS = 300.0
_MOST_KEPT = 16
_STOP_SECONDS = 2.0


class ResponseRun:
    """One response while it is made.

    Args:
        owner: Whose it is.
        writer: Makes it.
        given: The items that it is made from, without those of the responses before it.
        ignored: The request's parameters that nothing here uses.
    """

    def __init__(
        self, owner: str, writer: ResponseWriter, given: list[Item], ignored: list[str]
    ) -> None:
        self.owner = owner
        self.writer = writer
        self.given = given
        self.ignored = ignored
        self.deleted = False
        self.ended_at: float | None = None
        self._log: list[bytes] = []
        self._news = asyncio.Event()

    @property
    def response(self) -> Response:
        """The response as it stands."""
        return self.writer.response

    def record(self, events: list[told.ResponseEvent]) -> None:
        """Keep events for those who follow."""
        self._log.extend(told.encode_event(event) for event in events)
        self._wake()

    def end(self) -> None:
        """Let those who follow go."""
        self.ended_at = time.monotonic()
        self._wake()

    async def follow(self, after: int = -1) -> AsyncIterator[bytes]:
        """Yield the events after that number as they come, up to the last one."""
        at = after + 1
        while True:
            news = self._news
            if at < len(self._log):
                data, at = b"".join(self._log[at:]), len(self._log)
                yield data
            elif self.ended_at is not None:
                return
            else:
                await news.wait()

    async def settled(self) -> None:
        """Wait until the response has ended and is stored, if it is to be."""
        while self.ended_at is None:
            await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class ResponseRuns:
    """Knows all responses.

    Args:
        store: Where finished ones are kept.
        engine: Runs those in the background.
        log: Told of what fails with nobody there to hear of it.
    """

    def __init__(self, store: ResponseStore, engine: EngineClient, log: Logger) -> None:
        self.store = store
        self.completions = CompletionStore(store)
        self._engine = engine
        self._log = log
        self._runs: dict[str, ResponseRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def live(self, owner: str, id: str) -> ResponseRun | None:
        """Return the run of that id, if it is this user's and still known."""
        run = self._runs.get(id)
        return run if run is not None and run.owner == owner and not run.deleted else None

    @contextmanager
    def registered(self, run: ResponseRun) -> Iterator[None]:
        """Have a response found by its id while it is made for a client that waits for it."""
        self._runs[run.response.id] = run
        try:
            yield
        finally:
            del self._runs[run.response.id]
            run.end()

    async def begin(self, run: ResponseRun, command: Generate) -> None:
        """Make a response in the background."""
        self._forget_old()
        run.record(run.writer.accepted())
        self._runs[command.id] = run
        self._tasks[command.id] = asyncio.create_task(self._make(run, command))

    async def save(self, run: ResponseRun) -> bool:
        """Keep a response that has ended, if it is to be kept; return whether that worked."""
        response = run.response
        if not response.store or run.deleted:
            return True
        try:
            await self.store.save(
                run.owner,
                response.id,
                response.previous_response_id,
                msgspec.json.encode(response),
                run.given,
                msgspec.to_builtins(response.output),
            )
        except ApiError:
            # The store has logged it. The answer is there all the same, and says that it is not
            # stored.
            response.store = False
        except Exception:
            self._log.exception("The response %s was not stored.", response.id)
            response.store = False
        return response.store

    async def cancel(self, run: ResponseRun) -> None:
        """Stop a background response, unless it has ended, and wait for its end."""
        task = self._tasks.get(run.response.id)
        if task is None:
            return
        # One that has ended is still being stored: that must not be broken off.
        if not run.writer.ended and not self._engine.cancel(run.response.id):
            task.cancel()
        await asyncio.wait([task])

    async def delete(self, owner: str, id: str) -> bool:
        """Forget a response, stopping it first; return whether this user had it."""
        run = self.live(owner, id)
        if run is not None:
            run.deleted = True
            await self.cancel(run)
        stored = self.store.enabled and await self.store.delete(owner, id)
        return stored or run is not None

    async def close(self) -> None:
        """Stop everything in the background and close the store."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        await self.store.close()

    async def _make(self, run: ResponseRun, command: Generate) -> None:
        writer = run.writer
        origin = RequestOrigin(run.owner, "v1/responses", run.ignored)
        try:
            async with self._engine.generate(command, origin) as stream:
                await self._write(run, stream)
        except asyncio.CancelledError:
            if not writer.ended:
                stopped = RequestCancelled("The response was cancelled.")
                run.record(await self.last(run, writer.fail(stopped)))
        except ApiError as error:
            run.record(await self.last(run, writer.fail(error)))
        except Exception:
            self._log.exception("The background response %s failed.", command.id)
            if not writer.ended:
                failure = Unavailable("The server failed on this response; its log says why.")
                run.record(await self.last(run, writer.fail(failure)))
        finally:
            del self._tasks[command.id]
            run.end()

    async def _write(self, run: ResponseRun, stream: RequestStream) -> None:
        async for events in stream.batches():
            for event in events:
                if not isinstance(event, KeepAlive):
                    told_now = run.writer.take(event)
                    run.record(await self.last(run, told_now) if run.writer.ended else told_now)

    async def last(
        self, run: ResponseRun, events: list[told.ResponseEvent]
    ) -> list[told.ResponseEvent]:
        """Save a response that has just ended, before its client is told so; return its events."""
        if not await self.save(run):
            for event in events:
                if isinstance(event, told.LifecycleEvent):
                    event.response.store = False
        return events

    def _forget_old(self) -> None:
        ended = [(run.ended_at, id) for id, run in self._runs.items() if run.ended_at is not None]
        ended.sort(reverse=True)
        oldest = time.monotonic() - _KEPT_SECONDS
        for rank, (at, id) in enumerate(ended):
            if rank >= _MOST_KEPT or at < oldest:
                del self._runs[id]
