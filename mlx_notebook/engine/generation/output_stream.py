"""Turns the tokens of a row into events: token -> text -> content, reasoning and tool calls."""

import copy
import secrets
from collections.abc import Callable
from typing import Any

from tokenizers.decoders import DecodeStream

from mlx_notebook.engine.dialects import output_events as parsed
from mlx_notebook.engine.dialects.output_reader import OutputReader
from mlx_notebook.protocol import (
    Event,
    ParseProblem,
    Reasoning,
    RowTrace,
    Text,
    TokenLogprob,
    ToolCallArguments,
    ToolCallStart,
)


def text_stream(tokenizer: Any) -> Callable[[int], str]:
    """Return a function that takes the tokens in order and returns the text that each completes.

    It uses the incremental decoder of the tokenizers library, or mlx-lm's detokenizer for the few
    tokenizers without a Rust backend.
    """
    backend = getattr(tokenizer._tokenizer, "backend_tokenizer", None)
    if backend is not None:
        stream = DecodeStream(skip_special_tokens=False)
        return lambda token: stream.step(backend, token) or ""
    detokenizer = copy.copy(tokenizer.detokenizer)

    def step(token: int) -> str:
        detokenizer.add_token(token)
        return str(detokenizer.last_segment)

    return step


class OutputStream:
    """Turns the tokens of one row into events.

    Parameters
    ----------
    request_id, row
        The row's request, and its index in it.
    tokenizer
        Decodes the tokens.
    reader
        Separates content, reasoning and tool calls.

    Attributes
    ----------
    reasoning_tokens
        Tokens of reasoning so far.
    called
        Whether the row has a complete tool call.
    """

    def __init__(self, request_id: str, row: int, tokenizer: Any, reader: OutputReader):
        self._id, self._row = request_id, row
        self._decode = text_stream(tokenizer)
        self._reader = reader
        self._tokens = 0
        self._logprobs: list[TokenLogprob] | None = None
        self._end: TokenLogprob | None = None
        # Whether there may be markers, reasoning or a call before the next content, whose tokens
        # do not belong to the content; and whether there certainly are.
        self._maybe_outside = True
        self._outside = False
        self._raw: list[str] = []
        self._problems: list[ParseProblem] = []
        self.reasoning_tokens = 0
        self.called = False

    @property
    def stopped(self) -> str | None:
        """The stop string that has ended the row, if there is one."""
        return self._reader.stopped

    def add(self, token: int, logprob: TokenLogprob | None, events: list[Event]) -> None:
        """Add one token; append the events that it completes to `events`."""
        self._tokens += 1
        self.reasoning_tokens += self._reader.in_reasoning
        if logprob is not None:
            self._logprobs = [*(self._logprobs or []), logprob]
        text = self._decode(token)
        if text:
            self._raw.append(text)
            self._emit(self._reader.feed(text), events)

    def end_with(self, logprob: TokenLogprob | None) -> None:
        """Report the log probability of the token that ends the row. It has no text."""
        self._end = logprob

    def finish(self, *, cut: bool, events: list[Event]) -> None:
        """End the row, `cut` at its length limit or not; emit the text that was held back."""
        self._emit(self._reader.finish(cut=cut), events)
        if self._outside:
            self._logprobs = None
        if self._tokens:
            self._flush(events)
        if self._end is not None:
            events.append(Text(self._id, self._row, "", 0, [self._end]))

    def trace(self) -> RowTrace:
        """Return the row's whole text with markers, and the parts that could not be parsed."""
        return RowTrace("".join(self._raw), self._problems)

    def _emit(self, pieces: list[parsed.OutputEvent], events: list[Event]) -> None:
        for piece in pieces:
            match piece:
                case parsed.Content():
                    tokens, logprobs = self._take_tokens()
                    if logprobs and self._maybe_outside:
                        logprobs = _of_text(logprobs, piece.text)
                    self._maybe_outside = self._outside = False
                    events.append(Text(self._id, self._row, piece.text, tokens, logprobs))
                case parsed.ReasoningContent():
                    tokens, logprobs = self._take_tokens()
                    self._maybe_outside = self._outside = True
                    events.append(Reasoning(self._id, self._row, piece.text, tokens, logprobs))
                case parsed.CallStart():
                    self._in_call()
                    call_id = f"call_{secrets.token_hex(12)}"
                    events.append(
                        ToolCallStart(self._id, self._row, piece.index, call_id, piece.name)
                    )
                case parsed.CallArguments():
                    self._in_call()
                    events.append(ToolCallArguments(self._id, self._row, piece.index, piece.text))
                case parsed.CallEnd():
                    self._in_call()
                    self.called = True
                case parsed.CallFailed():
                    self._problems.append(ParseProblem(piece.raw, piece.reason))

    def _in_call(self) -> None:
        """Drop the log probabilities of the tokens of a call."""
        self._logprobs = None
        self._maybe_outside = self._outside = True

    def _flush(self, events: list[Event]) -> None:
        """Emit an event for tokens that have no text yet."""
        make = Reasoning if self._reader.in_reasoning else Text
        tokens, logprobs = self._take_tokens()
        events.append(make(self._id, self._row, "", tokens, logprobs))

    def _take_tokens(self) -> tuple[int, list[TokenLogprob] | None]:
        """Return the tokens since the last event and their log probabilities, and forget them."""
        tokens, logprobs = self._tokens, self._logprobs
        self._tokens, self._logprobs = 0, None
        return tokens, logprobs


def _of_text(tokens: list[TokenLogprob], text: str) -> list[TokenLogprob]:
    """Drop the leading tokens that are not part of `text`: markers and white space after them."""
    data = text.encode()
    rest = tokens
    while len(rest) > 1 and data in b"".join(bytes(token.bytes) for token in rest[1:]):
        rest = rest[1:]
    return rest
