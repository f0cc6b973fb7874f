"""`Chat` and `AsyncChat`: a conversation with a model that may call the notebook's functions."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook.answers.answer import Answer, Delta
from mlx_notebook.notebook.chat.conversation import Conversation
from mlx_notebook.notebook.chat.turn import Turn
from mlx_notebook.notebook.connection import clients
from mlx_notebook.notebook.errors import in_one_line
from mlx_notebook.notebook.rendering.cell_renderer import AnswerRenderer, view
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tools.tool import Tools
from mlx_notebook.notebook.tools.tool_runner import ToolRunner

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk


class Chat(Conversation):
    """A conversation: each prompt is answered in view of all that was said before."""

    def ask(
        self,
        prompt: str,
        *,
        images: Iterable[Any] = (),
        tools: Tools | None = None,
        schema: Any = None,
        show: bool | AnswerRenderer = False,
        **settings: Any,
    ) -> Answer:
        """Say something and wait for the whole answer, tool calls and all.

        Parameters
        ----------
        prompt
            The user's message.
        images
            Images to send along: PIL images, numpy arrays, matplotlib figures, paths, bytes.
        tools
            Instead of the chat's own, for this turn only.
        schema
            The type of the reply, such as a pydantic model: `Answer.parsed` is then the object.
        show
            Also show the answer in the cell (or terminal) while it comes.
        settings
            As for the whole chat, for this turn only.

        Raises
        ------
        NotebookError
            If there is no server or it cannot answer; the conversation is as it was, or as far as
            its tool calls came.
        Interrupted
            On a kernel interrupt. The server and tools stop; the answer so far is kept, here and
            in `last`.
        """
        return self._watched(*self._turn(prompt, images, tools, schema, settings), show)

    __call__ = ask

    def resume(self, *, show: bool | AnswerRenderer = False, **settings: Any) -> Answer:
        """Go on with a turn that was stopped among its tool calls; what was done stays done.

        Arguments and errors are those of `ask`.

        Raises
        ------
        NotebookError
            Also if there is nothing to resume.
        """
        return self._watched(*self._turn(None, (), None, None, settings), show)

    def stream(
        self,
        prompt: str,
        *,
        images: Iterable[Any] = (),
        tools: Tools | None = None,
        schema: Any = None,
        **settings: Any,
    ) -> Iterator[Delta]:
        """Say something and yield the answer as it comes; `last` is the `Answer` that grows.

        Leaving the loop early stops the server and keeps what came. Arguments and errors are
        those of `ask`.
        """
        yield from self._run(*self._turn(prompt, images, tools, schema, settings))

    def _watched(
        self, server: Server, turn: Turn, caller: ToolRunner, show: bool | AnswerRenderer
    ) -> Answer:
        shown = view(show)
        try:
            if turn.images:
                shown.sent(turn.images)
            shown.begin(turn.answer.model)
            deltas = self._run(server, turn, caller)
            for delta in deltas:
                try:
                    shown.add(delta)
                except KeyboardInterrupt as interrupt:
                    # It struck while text was shown: the turn ends as if it had waited for more.
                    deltas.throw(interrupt)
        finally:
            shown.end(turn.answer)
        return turn.answer

    def _run(self, server: Server, turn: Turn, caller: ToolRunner) -> Generator[Delta, None, None]:
        with turn.held():
            while turn.calls or turn.wants_reply:
                if turn.calls:
                    yield from caller.run(turn.calls)
                    turn.called()
                for chunk in self._chunks(server, turn):
                    yield from turn.take(chunk)
                turn.replied()

    def _chunks(self, server: Server, turn: Turn) -> Iterator["ChatCompletionChunk"]:
        request = turn.request(self._accepts_images(server, turn.answer.model))
        # A client a request: closing it closes the socket, in whatever state an interrupt found
        # the stream, and a closed socket is what stops the server. Making one takes 0.3 ms.
        with clients.told(server), clients.client_of(server) as client:
            yield from client.chat.completions.create(**request)


class AsyncChat(Conversation):
    """A `Chat` to await: `await chat.ask(...)`, `async for delta in chat.stream(...)`.

    Functions that are not async hold up the event loop while they run, as they would in a cell;
    async ones run together. Cancelling what is awaited stops model and tools.
    """

    async def ask(
        self,
        prompt: str,
        *,
        images: Iterable[Any] = (),
        tools: Tools | None = None,
        schema: Any = None,
        show: bool | AnswerRenderer = False,
        **settings: Any,
    ) -> Answer:
        """Say something and wait for the whole answer: see `Chat.ask`."""
        ready = await self._ready(prompt, images, tools, schema, settings)
        return await self._watched(*ready, show)

    __call__ = ask

    async def resume(self, *, show: bool | AnswerRenderer = False, **settings: Any) -> Answer:
        """Go on with a turn that was stopped among its tool calls: see `Chat.resume`."""
        return await self._watched(*await self._ready(None, (), None, None, settings), show)

    async def stream(
        self,
        prompt: str,
        *,
        images: Iterable[Any] = (),
        tools: Tools | None = None,
        schema: Any = None,
        **settings: Any,
    ) -> AsyncIterator[Delta]:
        """Say something and yield the answer as it comes: see `Chat.stream`."""
        ready = await self._ready(prompt, images, tools, schema, settings)
        async for delta in self._run(*ready):
            yield delta

    async def _ready(self, *asked: Any) -> tuple[Server, Turn, ToolRunner]:
        # Finding a server may take as long as starting one.
        try:
            return await asyncio.to_thread(self._turn, *asked)
        except asyncio.CancelledError as error:
            in_one_line(error, "stopped before the model was asked.")
            raise

    async def _watched(
        self, server: Server, turn: Turn, caller: ToolRunner, show: bool | AnswerRenderer
    ) -> Answer:
        shown = view(show)
        try:
            if turn.images:
                shown.sent(turn.images)
            shown.begin(turn.answer.model)
            async for delta in self._run(server, turn, caller):
                shown.add(delta)
        finally:
            shown.end(turn.answer)
        return turn.answer

    async def _run(self, server: Server, turn: Turn, caller: ToolRunner) -> AsyncIterator[Delta]:
        with turn.held():
            while turn.calls or turn.wants_reply:
                if turn.calls:
                    async for delta in caller.arun(turn.calls):
                        yield delta
                    turn.called()
                request = turn.request(self._accepts_images(server, turn.answer.model))
                with clients.told(server):
                    async with clients.async_client_of(server) as client:
                        async for chunk in await client.chat.completions.create(**request):
                            for delta in turn.take(chunk):
                                yield delta
                turn.replied()
