"""Sends one request for each row, as many at a time as the server computes together."""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from mlx_notebook.notebook import background_loop
from mlx_notebook.notebook.chat.chat import AsyncChat
from mlx_notebook.notebook.chat.conversation import user_message
from mlx_notebook.notebook.connection import clients
from mlx_notebook.notebook.errors import (
    EngineFailed,
    NotebookError,
    NotParsed,
    ServerBusy,
    ServerUnreachable,
)
from mlx_notebook.notebook.schemas.reply_schema import parsed, response_format
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.answer_cache import AnswerCache
from mlx_notebook.notebook.tables.map_progress import MapState, MapView
from mlx_notebook.notebook.tools.tool import Tools, tools_by_name

_SHOW_SECONDS = 0.25
_MOST_BUSY_SECONDS, _MOST_BUSY_ANSWERS = 10.0, 100
_USED = ("tokens", "answer_tokens", "seconds")
_BATCH = 8
"""Requests at a time if the server does not say how many it computes together."""


@dataclass(frozen=True)
class RowRequest:
    """What is asked about a row: the prompt and its images, or why there is no prompt."""

    prompt: str = ""
    images: tuple[Any, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class RowAnswer:
    """What became of a row.

    Attributes
    ----------
    text
        The answer; None if there is none.
    value
        The answer as an object, if there is a schema.
    error
        Why there is no answer.
    tokens
        Tokens of prompt and answer.
    answer_tokens
        Tokens of the answer alone.
    seconds
        How long its request took, while others ran at the same time.
    cached
        Whether it is an earlier answer.
    was_busy
        Whether the server's queue was full.
    """

    text: str | None = None
    value: Any = None
    error: str | None = None
    tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    cached: bool = False
    was_busy: bool = False


class RowRunner:
    """Answers rows. The caller's thread reads them; requests run on the background loop.

    Parameters
    ----------
    server, model
        Who answers.
    system, schema, tools, settings
        As for `Chat`, the same for all rows.
    retry
        How often to try again after a failure that may pass.
    cache
        Earlier answers; None to use and keep none.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        *,
        system: str | None,
        schema: Any,
        tools: Tools | None,
        settings: dict[str, Any],
        retry: int,
        cache: AnswerCache | None,
    ) -> None:
        self._server, self._model, self._system = server, model, system
        self._schema, self._retry, self._cache = schema, retry, cache
        self._tools = tools_by_name(tools) if tools is not None else {}
        self._settings = settings
        self.format = response_format(schema) if schema is not None else None
        self._client: Any = None

    def run(
        self,
        requests: Iterable[RowRequest],
        state: MapState,
        view: MapView,
        answers: dict[int, RowAnswer] | None = None,
    ) -> list[RowAnswer]:
        """Answer all rows, in their order. An interrupt ends the requests under way.

        Answers also go into `answers`, by the place of their row, where an interrupt leaves them.
        """
        answers = {} if answers is None else answers
        pending: dict[Future[RowAnswer], tuple[int, str]] = {}
        most = self._capacity()
        self._client = clients.async_client_of(self._server, max_retries=0, timeout=None)
        try:
            for index, request in enumerate(requests):
                key = self._key(request)
                answer = self._known(request, key)
                if answer is not None:
                    self._take(answers, index, answer, state)
                    if index % 64 == 0:
                        view.update()
                    continue
                # The first request computes the beginning that all of them share.
                room = 1 if state.done == state.cached else most
                while len(pending) >= room:
                    most = self._collect(pending, answers, state, view, most)
                    room = most
                pending[background_loop.submit(self._answer(request))] = index, key
                state.in_flight = len(pending)
            while pending:
                most = self._collect(pending, answers, state, view, most)
        finally:
            for future in pending:
                future.cancel()
            background_loop.submit(self._client.close())
        return [answers[index] for index in range(len(answers))]

    def _collect(
        self,
        pending: dict[Future[RowAnswer], tuple[int, str]],
        answers: dict[int, RowAnswer],
        state: MapState,
        view: MapView,
        most: int,
    ) -> int:
        """Wait a little for answers; return how many requests may be under way now."""
        done, _ = wait(pending, _SHOW_SECONDS, FIRST_COMPLETED)
        for future in done:
            index, key = pending.pop(future)
            answer = future.result()
            if answer.text is not None and self._cache is not None:
                self._cache.put(key, _kept(answer))
            self._take(answers, index, answer, state)
            if answer.was_busy:
                most = max(1, most - 1)
        state.in_flight = len(pending)
        view.update()
        return most

    def _take(
        self, answers: dict[int, RowAnswer], index: int, answer: RowAnswer, state: MapState
    ) -> None:
        answers[index] = answer
        state.add(answer.text, answer.tokens, cached=answer.cached)

    def _capacity(self) -> int:
        """Return how many requests the server computes together, and a few that wait for a row."""
        queue = self._server.get("mlx/status").get("queue", {})
        batch, limit = queue.get("batch", _BATCH), queue.get("limit", 0)
        return int(batch) + min(int(limit) // 2, max(1, int(batch) // 4))

    def _key(self, request: RowRequest) -> str:
        if self._cache is None or request.error is not None:
            return ""
        message = user_message(request.prompt, request.images)
        tools = sorted(self._tools)
        return AnswerCache.key(
            *(self._model, self._system, message, self.format, tools, self._settings)
        )

    def _known(self, request: RowRequest, key: str) -> RowAnswer | None:
        if request.error is not None:
            return RowAnswer(error=request.error)
        kept = self._cache.get(key) if self._cache is not None else None
        if kept is None:
            return None
        value = parsed(kept["text"], self._schema) if self._schema is not None else None
        used = {name: kept[name] for name in _USED if name in kept}
        return RowAnswer(kept["text"], value, cached=True, **used)

    async def _answer(self, request: RowRequest) -> RowAnswer:
        """Answer a row, and try again after failures that may pass."""
        busy, seconds = 0, _pauses()
        for attempt in range(self._retry + 1):
            while True:
                try:
                    began = time.monotonic()
                    text, tokens, answer_tokens = await self._ask(request, attempt)
                    took = time.monotonic() - began
                    value = parsed(text, self._schema) if self._schema is not None else None
                    return RowAnswer(
                        *(text, value, None, tokens, answer_tokens, took), was_busy=busy > 0
                    )
                except ServerBusy as error:
                    failure: NotebookError = error
                    busy += 1
                    if busy < _MOST_BUSY_ANSWERS:
                        await asyncio.sleep(next(seconds))
                        continue
                    return RowAnswer(error=str(failure), was_busy=True)
                except (ServerUnreachable, EngineFailed, NotParsed) as error:
                    failure = error
                    if isinstance(error, NotParsed) and self._settings.get("temperature") == 0:
                        return RowAnswer(error=str(failure))  # it would be the same again
                    break
                except NotebookError as error:
                    return RowAnswer(error=str(error), was_busy=busy > 0)
            if attempt < self._retry and not isinstance(failure, NotParsed):
                await asyncio.sleep(next(seconds))
        return RowAnswer(error=str(failure), was_busy=busy > 0)

    async def _ask(self, request: RowRequest, attempt: int) -> tuple[str, int, int]:
        """Send one request; return the text of the answer, the tokens of both, and its own."""
        settings = dict(self._settings)
        if attempt and "seed" in settings:  # the same seed would give the same answer
            settings["seed"] += attempt
        if self._tools:
            chat = AsyncChat(self._model, self._system, list(self._tools.values()), **settings)
            answer = await chat.ask(request.prompt, images=request.images, schema=self._schema)
            if answer.outcome == "paused":
                raise NotebookError("A tool call of this row needs an approval: map cannot ask.")
            written = answer.completion_tokens or 0
            return answer.text, (answer.prompt_tokens or 0) + written, written
        message = user_message(request.prompt, request.images)
        system = [{"role": "system", "content": self._system}] if self._system else []
        if self.format is not None:
            settings["response_format"] = self.format
        with clients.translated_errors(self._server):
            completion = await self._client.chat.completions.create(
                model=self._model, messages=[*system, message], **settings
            )
        usage = completion.usage
        tokens = (usage.total_tokens, usage.completion_tokens) if usage is not None else (0, 0)
        return completion.choices[0].message.content or "", *tokens


def _kept(answer: RowAnswer) -> dict[str, Any]:
    """Return what is kept of an answer."""
    return {"text": answer.text, **{name: getattr(answer, name) for name in _USED}}


def _pauses() -> Iterator[float]:
    """Yield the seconds before each new attempt: more each time, and not the same for all rows."""
    seconds = 0.25
    while True:
        yield seconds * random.uniform(0.5, 1.5)  # noqa: S311
        seconds = min(2 * seconds, _MOST_BUSY_SECONDS)
