"""Sends requests for rows, as many at a time as the server computes together."""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mlx_notebook.notebook import background_loop
from mlx_notebook.notebook.errors import (
    DownloadFailed,
    EngineFailed,
    ModelNotFound,
    NotAuthorized,
    NotebookError,
    NotParsed,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
)
from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.answer_cache import AnswerCache
from mlx_notebook.notebook.tables.map_progress import MapState, MapView

_SHOW_SECONDS = 0.25
_MOST_BUSY_SECONDS, _MOST_BUSY_ANSWERS = 10.0, 100
_MOST_LOST_SECONDS = 60.0
"""Rows wait so long for a server that does not answer. After that each is tried once."""
_BATCH = 8
"""Requests at a time if the server does not say how many it computes together."""


@dataclass(frozen=True)
class RowRequest:
    """What is asked about a row: the prompt and its images, or why there is no prompt.

    `seed` takes the place of the seed that all rows share.
    """

    prompt: str = ""
    images: tuple[Any, ...] = ()
    error: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class RowAnswer:
    """What became of a row.

    Attributes
    ----------
    text
        The answer; None if there is none.
    value
        The answer as an object: of the schema, or a vector.
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
    mistake
        The error, if it lies in the call and not in the row.
    """

    text: str | None = None
    value: Any = None
    error: str | None = None
    tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    cached: bool = False
    was_busy: bool = False
    mistake: NotebookError | None = None


class Answerer(Protocol):
    """Asks the server about rows.

    Attributes
    ----------
    together
        The most rows of one request.
    """

    together: int

    def key(self, request: RowRequest) -> str:
        """Return the key of a row's answer in the file of answers."""

    def kept(self, answer: RowAnswer) -> dict[str, Any]:
        """Return an answer as JSON values, for the file."""

    def recalled(self, kept: dict[str, Any]) -> RowAnswer:
        """Return the answer that `kept` describes."""

    async def ask(self, requests: Sequence[RowRequest], attempt: int) -> list[RowAnswer]:
        """Send one request; `attempt` counts from 0.

        Raises
        ------
        NotebookError
            If there is no answer.
        """

    def is_final(self, error: NotebookError) -> bool:
        """Whether a failure would be the same again."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class _Row:
    index: int
    key: str
    request: RowRequest


class RowLoop:
    """Answers rows. The caller's thread reads them; requests run on the background loop.

    Parameters
    ----------
    server
        Who answers.
    answerer
        What is asked.
    retry
        How often to try again after a failure that may pass.
    cache
        Earlier answers; None to use and keep none.
    """

    def __init__(
        self,
        server: Server,
        answerer: Answerer,
        *,
        retry: int,
        cache: AnswerCache | None,
    ) -> None:
        self._server, self._answerer = server, answerer
        self._retry, self._cache = retry, cache
        self._answers: dict[int, RowAnswer] = {}
        self._pending: dict[Future[list[RowAnswer]], list[_Row]] = {}
        self._state = MapState(None)
        self._view = MapView(self._state, shown=False)
        self._capacity = self._room = 1.0
        self._lost_since: float | None = None

    def run(
        self,
        requests: Iterable[RowRequest],
        state: MapState,
        view: MapView,
        answers: dict[int, RowAnswer] | None = None,
    ) -> list[RowAnswer]:
        """Answer all rows, in their order. An interrupt ends the requests under way.

        Answers also go into `answers`, by the place of their row, where an interrupt leaves them.

        Raises
        ------
        NotebookError
            If the first request fails by a mistake in the call, such as a model that does not
            exist.
        """
        self._state, self._view = state, view
        self._answers = {} if answers is None else answers
        self._capacity = self._room = self._asked_capacity()
        rows: list[_Row] = []
        try:
            for index, request in enumerate(requests):
                key = self._key(request)
                answer = self._known(request, key)
                if answer is not None:
                    self._take(index, answer)
                    if index % 64 == 0:
                        self._view.update()
                    continue
                rows.append(_Row(index, key, request))
                if len(rows) == self._answerer.together:
                    self._send(rows)
                    rows = []
            if rows:
                self._send(rows)
            while self._pending:
                self._collect()
        finally:
            for future in self._pending:
                future.cancel()
            background_loop.submit(self._answerer.close())
        return [self._answers[index] for index in range(len(self._answers))]

    def _send(self, rows: list[_Row]) -> None:
        """Send a request, when one more may be under way."""
        # The first request goes alone. It finds mistakes in the call, and computes the beginning
        # that all prompts share.
        while len(self._pending) >= (int(self._room) if self._state.asked else 1):
            self._collect()
        self._pending[background_loop.submit(self._answer(rows))] = rows
        self._state.in_flight = len(self._pending)

    def _collect(self) -> None:
        """Wait a little for answers, and take those that have come."""
        done, _ = wait(self._pending, _SHOW_SECONDS, FIRST_COMPLETED)
        for future in done:
            rows = self._pending.pop(future)
            for row, answer in zip(rows, future.result(), strict=True):
                if answer.mistake is not None and not self._state.asked:
                    raise answer.mistake
                if answer.error is None and self._cache is not None:
                    self._cache.put(row.key, self._answerer.kept(answer))
                self._take(row.index, answer)
                self._state.asked += 1
            busy = any(answer.was_busy for answer in (self._answers[row.index] for row in rows))
            room = self._room - 1 if busy else self._room + 1 / self._room
            self._room = min(max(room, 1.0), self._capacity)
        self._state.in_flight = len(self._pending)
        self._state.waits_for_server = self._lost_since is not None
        self._view.update()

    def _take(self, index: int, answer: RowAnswer) -> None:
        self._answers[index] = answer
        self._state.add(answer.text, answer.tokens, error=answer.error, cached=answer.cached)

    def _asked_capacity(self) -> float:
        """Return how many requests the server computes together, and half as many that wait.

        Rows often end together. Those that wait then begin together, which costs less.
        """
        queue = self._server.get("mlx/status").get("queue", {})
        batch, limit = int(queue.get("batch", _BATCH)), int(queue.get("limit", 0))
        requests = batch + min(limit // 2, max(1, batch // 2))
        return float(max(2, requests // self._answerer.together))

    def _key(self, request: RowRequest) -> str:
        if self._cache is None or request.error is not None:
            return ""
        return self._answerer.key(request)

    def _known(self, request: RowRequest, key: str) -> RowAnswer | None:
        if request.error is not None:
            return RowAnswer(error=request.error)
        kept = self._cache.get(key) if self._cache is not None else None
        return None if kept is None else replace(self._answerer.recalled(kept), cached=True)

    async def _answer(self, rows: list[_Row]) -> list[RowAnswer]:
        """Answer the rows of one request, and try again after failures that may pass."""
        requests = [row.request for row in rows]
        busy, attempt, seconds = 0, 0, _pauses()
        while True:
            try:
                began = time.monotonic()
                answers = await self._answerer.ask(requests, attempt)
                took = time.monotonic() - began
                self._lost_since = None
                return [replace(one, seconds=took, was_busy=busy > 0) for one in answers]
            except ServerBusy as error:
                failure: NotebookError = error
                busy += 1
                if busy == _MOST_BUSY_ANSWERS:
                    break
            except ServerUnreachable as error:
                failure = error
                self._lost_since = self._lost_since or time.monotonic()
                if time.monotonic() - self._lost_since > _MOST_LOST_SECONDS:
                    break
            except (EngineFailed, NotParsed) as error:
                failure = error
                attempt += 1
                if attempt > self._retry or self._answerer.is_final(error):
                    break
                if isinstance(error, NotParsed):
                    continue
            except NotebookError as error:
                failure = error
                if len(rows) > 1 and isinstance(error, RequestRefused) and not _is_mistake(error):
                    # One of them is at fault.
                    return [(await self._answer([row]))[0] for row in rows]
                break
            await asyncio.sleep(next(seconds))
        mistake = failure if _is_mistake(failure) else None
        # A row is no conversation that could be reset.
        reason = str(failure).partition(" `%mlx reset`")[0]
        failed = RowAnswer(error=reason, was_busy=busy > 0, mistake=mistake)
        return [failed] * len(rows)


def _is_mistake(error: NotebookError) -> bool:
    """Return whether an error lies in the call, so that every row would fail with it."""
    if isinstance(error, ModelNotFound | NotAuthorized | DownloadFailed):
        return True
    if error.code in ("vision_not_supported", "audio_not_supported"):
        # Its parameter is a row's image or sound, but the model takes none at all.
        return True
    of_row = ("messages", "input", "prompt")
    return type(error) is RequestRefused and not (error.param or of_row[0]).startswith(of_row)


def _pauses() -> Iterator[float]:
    """Yield the seconds before each new attempt: more each time, and not the same for all rows."""
    seconds = 0.25
    while True:
        yield seconds * random.uniform(0.5, 1.5)  # noqa: S311
        seconds = min(2 * seconds, _MOST_BUSY_SECONDS)
