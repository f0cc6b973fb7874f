"""Keep track of responses: those that run for a client or in the background, and stored ones."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from logging import Logger

import msgspec

from mlx_notebook.protocol import Generate
from mlx_notebook.server.engine.request_stream import KeepAlive, RequestStream
from mlx_notebook.server.errors import ApiError, Conflict, RequestCancelled, Unavailable
from mlx_notebook.server.responses.completion_store import CompletionStore
from mlx_notebook.server.responses.mcp_writer import McpWriter
from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_store import ResponseStore
from mlx_notebook.server.responses.stored_conversations import StoredConversations
from mlx_notebook.server.telemetry.request_traces import RequestOrigin
from mlx_notebook.server.upstreams.request_router import RequestRouter
from mlx_notebook.server.users.rate_limiter import UserRequest
from mlx_notebook.server.wire.responses import response_events as wire
from mlx_notebook.server.wire.responses.conversation_object import ConversationReference
from mlx_notebook.server.wire.responses.response_object import Response

Opened = Callable[[Generate], AbstractAsyncContextManager[RequestStream]]
Rounds = AsyncGenerator[list[wire.ResponseEvent | KeepAlive], None]

# How long, and for how many ended background responses, events are kept for clients that return.
_KEPT_SECONDS = 300.0
_MAX_KEPT = 16
_STOP_SECONDS = 2.0
_CANCELLED = "The response was cancelled."
_STOPPED = Unavailable("The server has stopped before the response was complete. Send it again.")
# Responses whose items become part of their conversation.
_SAID = ("completed", "incomplete")


class ResponseRuns:
    """Run responses in the background, and find running and stored ones.

    Parameters
    ----------
    store
        Store for finished responses.
    requests
        Router that runs background responses.
    log
        Logger for errors of background responses.
    """

    def __init__(self, store: ResponseStore, requests: RequestRouter, log: Logger) -> None:
        self.store = store
        self.completions = CompletionStore(store)
        self.conversations = StoredConversations(store)
        self._claimed: set[tuple[str, str]] = set()
        self._requests = requests
        self._log = log
        self._runs: dict[str, ResponseRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    def find(self, owner: str, id: str) -> ResponseRun | None:
        """Return the run of a response, if it belongs to this user and is still kept."""
        run = self._runs.get(id)
        return run if run is not None and run.owner == owner and not run.deleted else None

    @contextmanager
    def registered(self, run: ResponseRun) -> Iterator[None]:
        """Register a response for the block, in which it runs for a client that waits."""
        self._runs[run.response.id] = run
        try:
            yield
        finally:
            del self._runs[run.response.id]
            run.end()

    async def start(
        self,
        run: ResponseRun,
        command: Generate,
        counted: UserRequest,
        prepare: Callable[[], Awaitable[Generate]] | None = None,
    ) -> None:
        """Start a response in the background, and release its place in the limits at its end.

        Parameters
        ----------
        run
            The response.
        command
            Command to ask the model.
        counted
            Its place in the limits.
        prepare
            What to do first; it returns the command to use in place of `command`.
        """
        self._forget_old()
        run.record(run.writer.accepted())
        self._runs[command.id] = run
        self._tasks[command.id] = asyncio.create_task(
            self._run_in_background(run, command, counted, prepare)
        )

    @contextmanager
    def claimed(self, owner: str, conversation: str | None) -> Iterator[None]:
        """Keep other responses from a conversation during the block.

        Raises
        ------
        Conflict
            If another one extends it.
        """
        if conversation is None:
            yield
            return
        claim = (owner, conversation)
        if claim in self._claimed:
            raise Conflict(
                f"Another response extends the conversation {conversation[:200]!r}. Wait for it.",
                param="conversation",
                code="conversation_locked",
            )
        self._claimed.add(claim)
        try:
            yield
        finally:
            self._claimed.remove(claim)

    async def save(self, run: ResponseRun) -> bool:
        """Store a response that has ended, as its request asks for it. Return False on failure."""
        response = run.response
        if run.deleted:
            return True
        try:
            await self._write_to_store(run)
        except ApiError:
            # The store has logged the error. The response says that it is not stored.
            mark_unsaved(response)
            return False
        except Exception:
            self._log.exception("The response %s was not stored.", response.id)
            mark_unsaved(response)
            return False
        return True

    async def _write_to_store(self, run: ResponseRun) -> None:
        response = run.response
        output = msgspec.to_builtins(response.output)
        also = None
        conversation = response.conversation
        if isinstance(conversation, ConversationReference) and response.status in _SAID:
            items = [*run.input_items, *output]
            also = self.conversations.addition(run.owner, conversation.id, items)
        if response.store:
            await self.store.save(
                run.owner,
                response.id,
                response.previous_response_id,
                msgspec.json.encode(response),
                run.input_items,
                output,
                also,
            )
        elif also is not None:
            await self.store.run(also)

    async def cancel(self, run: ResponseRun) -> None:
        """Cancel a background response, if it still runs, and wait for its end."""
        task = self._tasks.get(run.response.id)
        if task is None:
            return
        # A response that has ended may still be being stored. Do not cancel that.
        if not run.writer.ended and not self._requests.cancel(run.response.id):
            task.cancel()
        await asyncio.wait([task])

    async def delete(self, owner: str, id: str) -> bool:
        """Delete a response, and cancel it first. Return whether this user had it."""
        run = self.find(owner, id)
        if run is not None:
            run.deleted = True
            await self.cancel(run)
        stored = self.store.enabled and await self.store.delete(owner, id)
        return stored or run is not None

    async def close(self) -> None:
        """End all background responses, which fail, and close the store."""
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        await self.store.close()

    async def _run_in_background(
        self,
        run: ResponseRun,
        command: Generate,
        counted: UserRequest,
        prepare: Callable[[], Awaitable[Generate]] | None,
    ) -> None:
        writer = run.writer
        origin = RequestOrigin(
            run.owner, "v1/responses", run.ignored, run.notices, run.trace_context
        )
        try:
            if prepare is not None:
                command = await prepare()
            opened = partial(self._counted, counted, origin)
            async with aclosing(self.rounds(run, command, opened)) as batches:
                async for written in batches:
                    run.record([each for each in written if not isinstance(each, KeepAlive)])
        except asyncio.CancelledError:
            if not writer.ended:
                stopped = _STOPPED if self._closing else RequestCancelled(_CANCELLED)
                run.record(await self.save_last(run, writer.fail(stopped)))
        except ApiError as error:
            run.record(await self.save_last(run, writer.fail(error)))
        except Exception:
            self._log.exception("The background response %s failed.", command.id)
            if not writer.ended:
                failure = Unavailable("The server failed on this response. Its log says why.")
                run.record(await self.save_last(run, writer.fail(failure)))
        finally:
            counted.release()
            await run.claims.aclose()
            del self._tasks[command.id]
            run.end()

    @asynccontextmanager
    async def _counted(
        self, counted: UserRequest, origin: RequestOrigin, command: Generate
    ) -> AsyncIterator[RequestStream]:
        async with self._requests.generate(command, origin) as stream:
            try:
                yield stream
            finally:
                counted.take_tokens(stream.tokens)

    async def rounds(self, run: ResponseRun, command: Generate, opened: Opened) -> Rounds:
        """Yield the events of a response, which has ended and is stored when the last ones come.

        Parameters
        ----------
        run
            The response.
        command
            Command to ask the model.
        opened
            Runs a command.
        """
        writer, mcp = run.writer, run.mcp
        next_command: Generate | None = command
        if mcp is not None:
            assert isinstance(writer, McpWriter)
            async with aclosing(mcp.begin(writer)) as begun:
                async for events in begun:
                    yield events
            if writer.waits:
                yield [*await self.save_last(run, writer.finish())]
                return
            next_command = mcp.command(command, writer)
        while next_command is not None:
            async with opened(next_command) as stream:
                async for batch in stream.batches():
                    written: list[wire.ResponseEvent | KeepAlive] = []
                    for event in batch:
                        if isinstance(event, KeepAlive):
                            written.append(event)
                        said = writer.handle(event)
                        written += await self.save_last(run, said) if writer.ended else said
                    yield written
            if writer.ended or mcp is None:
                return
            assert isinstance(writer, McpWriter)
            async with aclosing(mcp.make_calls(writer)) as made:
                async for events in made:
                    yield events
            next_command = None if writer.waits else mcp.command(command, writer)
        assert isinstance(writer, McpWriter)
        ended = writer.finish(cut_off=not writer.waits)
        yield [*await self.save_last(run, ended)]

    async def save_last(
        self, run: ResponseRun, events: list[wire.ResponseEvent]
    ) -> list[wire.ResponseEvent]:
        """Store a response that has just ended, and return its last events.

        Call this before the client gets the events, which say whether the response is stored.
        """
        if not await self.save(run):
            for event in events:
                if isinstance(event, wire.LifecycleEvent):
                    mark_unsaved(event.response)
        return events

    def _forget_old(self) -> None:
        ended = [(run.ended_at, id) for id, run in self._runs.items() if run.ended_at is not None]
        ended.sort(reverse=True)
        oldest = time.monotonic() - _KEPT_SECONDS
        for rank, (at, id) in enumerate(ended):
            if rank >= _MAX_KEPT or at < oldest:
                del self._runs[id]


def mark_unsaved(response: Response) -> None:
    """Let a response say that neither it nor its items are stored."""
    response.store = False
    if response.conversation is not msgspec.UNSET:
        response.conversation = None
