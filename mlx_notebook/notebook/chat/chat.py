"""`Chat` and `AsyncChat`: conversations with a model that can call the notebook's functions."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook.answers.answer import Answer, Delta
from mlx_notebook.notebook.chat.conversation import Conversation
from mlx_notebook.notebook.chat.turn import Turn
from mlx_notebook.notebook.connection import clients
from mlx_notebook.notebook.errors import Interrupted, in_one_line
from mlx_notebook.notebook.interrupts import LastingInterrupt, cancelling
from mlx_notebook.notebook.rendering.cell_renderer import AnswerRenderer, choose_renderer
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tools.tool import Tools
from mlx_notebook.notebook.tools.tool_runner import ToolRunner

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

_BEFORE = "stopped before the prompt was sent."


class Chat(Conversation):
    """A conversation with a model. Each prompt is answered with all earlier messages as context.

    `Conversation` describes the parameters and attributes.

    Examples
    --------
    >>> chat = Chat(system="Answer in one sentence.")
    >>> answer = chat.ask("What is a monad?", temperature=0)
    >>> print(answer.text)
    """

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
        """Send a prompt and return the whole answer, after all tool calls.

        Parameters
        ----------
        prompt
            The user's message.
        images
            Images for the model: PIL images, numpy arrays, matplotlib figures, paths or bytes. A
            path or bytes may also be a PDF or a video.
        tools
            Tools for this turn, in place of the chat's own.
        schema
            The type of the answer, such as a pydantic model or a JSON schema. `Answer.parsed` is
            then an object of this type.
        show
            Whether to show the answer in the cell or terminal while it is streamed.
        settings
            Settings for this turn, in place of the chat's own. `pages="1-3,7"` chooses pages of a
            PDF.

        Returns
        -------
        Answer
            The answer: its text, tool calls and token counts.

        Raises
        ------
        NotebookError
            If there is no server or it cannot answer. The conversation keeps the tool calls that
            were made; without any it is unchanged.
        Interrupted
            On a kernel interrupt. The server and the tools stop. The conversation and `last` keep
            the answer so far.
        """
        return self._ask_and_show(*self._prepare(prompt, images, tools, schema, settings), show)

    __call__ = ask

    def resume(self, *, show: bool | AnswerRenderer = False, **settings: Any) -> Answer:
        """Continue a turn that was stopped during its tool calls, or whose connection was lost.

        Results so far are kept. An answer that was cut off goes on where it broke: only the rest is
        shown, and the text of the returned answer is the whole.

        Parameters
        ----------
        show
            As for `ask`.
        settings
            As for `ask`.

        Returns
        -------
        Answer
            The rest of the answer.

        Raises
        ------
        NotebookError
            As for `ask`, and if there is nothing to resume.
        Interrupted
            As for `ask`.
        """
        return self._ask_and_show(*self._prepare(None, (), None, None, settings), show)

    def stream(
        self,
        prompt: str,
        *,
        images: Iterable[Any] = (),
        tools: Tools | None = None,
        schema: Any = None,
        **settings: Any,
    ) -> Iterator[Delta]:
        """Send a prompt and yield the answer in pieces. `last` is the `Answer` so far.

        Leaving the loop early stops the server; the conversation keeps the answer so far.

        Parameters
        ----------
        prompt
            The user's message.
        images
            As for `ask`.
        tools
            As for `ask`.
        schema
            As for `ask`.
        settings
            As for `ask`.

        Yields
        ------
        Delta
            A new piece of the answer.

        Raises
        ------
        NotebookError
            As for `ask`.
        Interrupted
            As for `ask`.

        Examples
        --------
        >>> for delta in chat.stream("Tell me a story."):
        ...     print(delta.text, end="")
        """
        server, turn, runner = self._prepare(prompt, images, tools, schema, settings)
        with turn.ending(), closing(self._run(server, turn, runner)) as deltas:
            while (delta := _next(deltas)) is not None:
                yield delta

    def _prepare(self, *arguments: Any) -> tuple[Server, Turn, ToolRunner]:
        # It may have to start a server.
        try:
            with LastingInterrupt():
                return self._begin_turn(*arguments)
        except KeyboardInterrupt:
            raise Interrupted(_BEFORE) from None

    def _ask_and_show(
        self, server: Server, turn: Turn, runner: ToolRunner, show: bool | AnswerRenderer
    ) -> Answer:
        renderer = choose_renderer(show)
        deltas = self._run(server, turn, runner)
        try:
            # An interrupt may strike in the renderer, too. The request ends with `deltas`.
            with turn.ending(), LastingInterrupt(), closing(deltas):
                if turn.images:
                    renderer.show_images(turn.images)
                renderer.begin(turn.answer.model)
                for delta in deltas:
                    renderer.add(delta)
        finally:
            renderer.end(turn.answer)
        return turn.answer

    def _run(self, server: Server, turn: Turn, runner: ToolRunner) -> Generator[Delta, None, None]:
        while turn.calls or turn.needs_reply:
            if turn.calls:
                yield from runner.run(turn.calls)
                turn.collect_results()
            with closing(self._chunks(server, turn)) as chunks:
                for chunk in chunks:
                    yield from turn.take(chunk)
            turn.finish_reply()

    def _chunks(self, server: Server, turn: Turn) -> Generator["ChatCompletionChunk", None, None]:
        request = turn.request(self._accepts_images(server, turn.answer.model))
        # One client for each request: closing it closes the socket, whatever state an interrupt
        # has left the stream in, and that stops the server. Making a client takes 0.3 ms.
        with clients.translated_errors(server), clients.stream_client_of(server) as client:
            stream = client.chat.completions.create(**request)
            turn.note_sending(stream.response)
            yield from stream


class AsyncChat(Conversation):
    """A `Chat` to await: `await chat.ask(...)`, `async for delta in chat.stream(...)`.

    Async tools run together. Other functions block the event loop while they run, as they would in
    a cell. Cancelling the task stops the model and the tools.

    Examples
    --------
    >>> chat = AsyncChat(tools=[weather])
    >>> answer = await chat.ask("What is the weather in Oslo?")
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
        """Send a prompt and return the whole answer: see `Chat.ask`."""
        ready = await self._prepare(prompt, images, tools, schema, settings)
        return await self._ask_and_show(*ready, show)

    __call__ = ask

    async def resume(self, *, show: bool | AnswerRenderer = False, **settings: Any) -> Answer:
        """Continue a turn that was stopped or whose connection was lost: see `Chat.resume`."""
        return await self._ask_and_show(*await self._prepare(None, (), None, None, settings), show)

    async def stream(
        self,
        prompt: str,
        *,
        images: Iterable[Any] = (),
        tools: Tools | None = None,
        schema: Any = None,
        **settings: Any,
    ) -> AsyncIterator[Delta]:
        """Send a prompt and yield the answer in pieces: see `Chat.stream`."""
        ready = await self._prepare(prompt, images, tools, schema, settings)
        with ready[1].ending():
            async with aclosing(self._run(*ready)) as deltas:
                while (delta := await _anext(deltas)) is not None:
                    yield delta

    async def _prepare(self, *arguments: Any) -> tuple[Server, Turn, ToolRunner]:
        # It may have to start a server.
        try:
            with cancelling():
                return await asyncio.to_thread(self._begin_turn, *arguments)
        except asyncio.CancelledError as error:
            in_one_line(error, _BEFORE)
            raise

    async def _ask_and_show(
        self, server: Server, turn: Turn, runner: ToolRunner, show: bool | AnswerRenderer
    ) -> Answer:
        renderer = choose_renderer(show)
        deltas = self._run(server, turn, runner)
        try:
            with turn.ending(), cancelling():
                async with aclosing(deltas):
                    if turn.images:
                        renderer.show_images(turn.images)
                    renderer.begin(turn.answer.model)
                    async for delta in deltas:
                        renderer.add(delta)
        finally:
            renderer.end(turn.answer)
        return turn.answer

    async def _run(
        self, server: Server, turn: Turn, runner: ToolRunner
    ) -> AsyncGenerator[Delta, None]:
        while turn.calls or turn.needs_reply:
            if turn.calls:
                async for delta in runner.arun(turn.calls):
                    yield delta
                turn.collect_results()
            request = turn.request(self._accepts_images(server, turn.answer.model))
            with clients.translated_errors(server):
                async with clients.async_stream_client_of(server) as client:
                    stream = await client.chat.completions.create(**request)
                    turn.note_sending(stream.response)
                    async for chunk in stream:
                        for delta in turn.take(chunk):
                            yield delta
            turn.finish_reply()


def _next(deltas: Iterator[Delta]) -> Delta | None:
    with LastingInterrupt():
        return next(deltas, None)


async def _anext(deltas: AsyncIterator[Delta]) -> Delta | None:
    with cancelling():
        return await anext(deltas, None)
