"""Read an upstream's answer, and turn it into the events that the engine would send.

Formats: https://platform.openai.com/docs/api-reference/chat/streaming and .../completions, and
https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook import protocol
from mlx_notebook.protocol import FinishReason, TokenLogprob
from mlx_notebook.server.wire.ids import new_id

_MOST_EVENT_BYTES = 8 * 1024 * 1024
_MOST_CALLS = 1024
# What servers call the three ways to end, besides OpenAI's names.
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
}


class UnreadableAnswer(Exception):
    """The answer is not in the format of the API. The text is a predicate of "The upstream"."""


class ReportedError(Exception):
    """The upstream reports an error in the middle of its answer.

    Attributes
    ----------
    error
        The error as it was sent.
    """

    def __init__(self, error: Any) -> None:
        super().__init__("the upstream reports an error")
        self.error = error


class _Function(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Message(Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    logprobs: Any = None


class _PromptDetails(Struct):
    cached_tokens: int | None = None


class _AnswerDetails(Struct):
    reasoning_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _AnswerDetails | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class _Top(Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Token(_Top):
    top_logprobs: list[_Top] | None = None
    # Of servers like this one.
    entropy: float | None = None
    forced: bool | None = None


class _ChatLogprobs(Struct):
    content: list[_Token] | None = None


class _TextLogprobs(Struct):
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class EventLines:
    """Split a stream of bytes into the data of its events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Add bytes, and yield the data of each event that they complete.

        Raises
        ------
        UnreadableAnswer
            If an event is too large.
        """
        start = len(self._buffer)
        self._buffer += piece
        end = self._buffer.find(b"\n", start)
        begin = 0
        while end >= 0:
            line = bytes(self._buffer[begin:end]).rstrip(b"\r")
            begin = end + 1
            end = self._buffer.find(b"\n", begin)
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
            elif not line and self._data:
                yield self._taken()
        del self._buffer[:begin]
        if self._size + len(self._buffer) > _MOST_EVENT_BYTES:
            raise UnreadableAnswer(f"sent an event of more than {_MOST_EVENT_BYTES:,} bytes")

    def end(self) -> Iterator[bytes]:
        """Yield the data of a last event without an empty line after it."""
        yield from self.feed(b"\n")
        if self._data:
            yield self._taken()

    def _taken(self) -> bytes:
        data, self._data, self._size = b"\n".join(self._data), [], 0
        return data


class AnswerReader:
    """Turn the chunks of one answer into events.

    Parameters
    ----------
    id
        Id of the request.
    rows
        Number of choices that were asked for.
    with_logprobs
        Whether log probabilities were asked for.
    stops
        Texts that end a choice.
    """

    def __init__(self, id: str, rows: int, *, with_logprobs: bool, stops: list[str]) -> None:
        self._id = id
        self._rows = [_Row(id, row, with_logprobs, stops) for row in range(rows)]
        self._usage: _Usage | None = None
        self._began = time.monotonic()
        self.first_token: float | None = None

    def read(self, data: bytes) -> list[protocol.Event]:
        """Return the events for one chunk, or for a whole answer.

        Raises
        ------
        UnreadableAnswer
            If it is not what the API sends.
        ReportedError
            If it is an error.
        """
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableAnswer(f"sent something that is not an answer: {error}") from None
        if chunk.error is not None:
            raise ReportedError(chunk.error)
        if chunk.usage is not None:
            self._usage = chunk.usage
        events: list[protocol.Event] = []
        for choice in chunk.choices or ():
            if not 0 <= choice.index < len(self._rows):
                raise UnreadableAnswer(f"sent a choice {choice.index} that was not asked for")
            events += self._rows[choice.index].read(choice)
        if events and self.first_token is None:
            self.first_token = time.monotonic() - self._began
        return events

    def done(self) -> protocol.Done:
        """Return the last event, after the end of the answer.

        Raises
        ------
        UnreadableAnswer
            If the answer ended too early.
        """
        if unfinished := [row for row in self._rows if not row.finished]:
            ended = len(self._rows) - len(unfinished)
            what = f"after {ended} of {len(self._rows)} choices" if ended else "in the middle"
            raise UnreadableAnswer(f"ended the answer {what}")
        seconds = time.monotonic() - self._began
        first = seconds if self.first_token is None else self.first_token
        timings = protocol.Timings(0.0, 0.0, first, first, seconds - first)
        return protocol.Done(self._id, self._counts(), timings)

    def _counts(self) -> protocol.Usage:
        """Return the token counts of the upstream. Without them, count the pieces of the answer."""
        usage = self._usage
        if usage is None:
            pieces = sum(row.pieces for row in self._rows)
            return protocol.Usage(0, pieces, 0, sum(row.reasoning_pieces for row in self._rows))
        prompt, answer = usage.prompt_tokens_details, usage.completion_tokens_details
        return protocol.Usage(
            usage.prompt_tokens or 0,
            usage.completion_tokens or 0,
            (prompt.cached_tokens if prompt else 0) or 0,
            (answer.reasoning_tokens if answer else 0) or 0,
        )


class _Row:
    """Read one choice."""

    def __init__(self, id: str, row: int, with_logprobs: bool, stops: list[str]) -> None:
        self._head = (id, row)
        self._with_logprobs = with_logprobs
        self._stops = stops
        self._has_text = False
        self._has_logprobs = False
        # The upstream's index and id of the last call, and whether it has arguments.
        self._call: tuple[int, str | None] | None = None
        self._calls: set[tuple[int, str | None]] = set()
        self._has_arguments = False
        self._count = 0
        self.finished = False
        self.pieces = 0
        self.reasoning_pieces = 0

    def read(self, choice: _Choice) -> Iterator[protocol.Event]:
        """Yield the events for new output of this choice."""
        if self.finished:
            return
        message = choice.delta or choice.message or _Message(content=choice.text)
        if reasoning := message.reasoning_content or message.reasoning:
            self.pieces += 1
            self.reasoning_pieces += 1
            yield protocol.Reasoning(*self._head, reasoning, 1)
        logprobs = self._logprobs(choice.logprobs) if self._with_logprobs else None
        text = (message.content or "") + (message.refusal or "")
        if text or logprobs:
            tokens = len(logprobs) if logprobs else 1
            self.pieces += tokens
            self._has_text = self._has_text or bool(text)
            yield protocol.Text(*self._head, text, tokens, logprobs)
        for call in message.tool_calls or ():
            yield from self._read_call(call)
        if choice.finish_reason is not None:
            yield from self._finish(choice.finish_reason, choice.stop_reason)

    def _read_call(self, call: _Call) -> Iterator[protocol.Event]:
        function = call.function or _Function()
        known = self._call
        index = call.index if call.index is not None else (known[0] if known else 0)
        is_new = (
            known is None
            or (call.index is None and bool(function.name))
            or index != known[0]
            # Some servers give all calls the index 0.
            or bool(call.id and function.name and call.id != known[1])
        )
        if is_new:
            if not function.name:
                raise UnreadableAnswer("sent a tool call without a name, or out of order")
            yield from self._end_call()
            key = (index, call.id)
            if key in self._calls and call.id is not None:
                raise UnreadableAnswer("sent a tool call twice")
            if self._count >= _MOST_CALLS:
                raise UnreadableAnswer(f"sent more than {_MOST_CALLS:,} tool calls")
            self._calls.add(key)
            self._call, self._has_arguments = key, False
            self._count += 1
            self.pieces += 1
            id = call.id or new_id("call_")
            yield protocol.ToolCallStart(*self._head, self._count - 1, id, function.name)
        given = function.arguments
        arguments = msgspec.json.encode(given).decode() if isinstance(given, dict) else given
        if arguments:
            self._has_arguments = True
            yield protocol.ToolCallArguments(*self._head, self._count - 1, arguments)

    def _end_call(self) -> Iterator[protocol.Event]:
        """Yield an empty object for the arguments of a call that has none: they are JSON text."""
        if self._call is not None and not self._has_arguments:
            yield protocol.ToolCallArguments(*self._head, self._count - 1, "{}")

    def _finish(self, given: str, stop: Any) -> Iterator[protocol.Event]:
        if (reason := _REASONS.get(given)) is None:
            raise UnreadableAnswer(f"ended the answer for an unknown reason: {given[:100]!r}")
        yield from self._end_call()
        if self._with_logprobs and self._has_text and not self._has_logprobs:
            raise UnreadableAnswer("has no log probabilities: leave out 'logprobs'")
        if self._count and reason == "stop":
            # So says OpenAI for a function that the request names.
            reason = "tool_calls"
        self.finished = True
        matched = stop if isinstance(stop, str) and stop in self._stops else None
        yield protocol.Finished(*self._head, reason, matched)

    def _logprobs(self, given: Any) -> list[TokenLogprob]:
        if given is None:
            return []
        try:
            found = _tokens(given)
        except (msgspec.ValidationError, ValueError) as error:
            raise UnreadableAnswer(f"sent log probabilities that are not valid: {error}") from None
        self._has_logprobs = self._has_logprobs or bool(found)
        return found


def _tokens(given: Any) -> list[TokenLogprob]:
    """Return log probabilities in the form of the engine.

    Raises
    ------
    ValueError
        If their lists differ in length.
    """
    if isinstance(given, dict) and "tokens" in given:
        text = msgspec.convert(given, _TextLogprobs)
        tokens = text.tokens or []
        chosen = text.token_logprobs or []
        tops = text.top_logprobs or [None] * len(tokens)
        return [
            _token(
                _Token(
                    token,
                    logprob,
                    top_logprobs=[_Top(other, value) for other, value in (top or {}).items()],
                )
            )
            for token, logprob, top in zip(tokens, chosen, tops, strict=True)
            # The first token of an echoed prompt has none.
            if logprob is not None
        ]
    return [_token(token) for token in msgspec.convert(given, _ChatLogprobs).content or ()]


def _token(token: _Token) -> TokenLogprob:
    top = [(each.token, each.logprob, _bytes(each)) for each in token.top_logprobs or ()]
    return TokenLogprob(
        token.token, token.logprob, _bytes(token), top, token.entropy, bool(token.forced)
    )


def _bytes(token: _Top) -> list[int]:
    if token.bytes is not None:
        return token.bytes
    return list(token.token.encode("utf-8", "replace"))
