"""Tokens to typed deltas: one small pipeline a sequence.

token -> text (incrementally) -> reasoning or content, without marks and stop strings -> events.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_lm.generate import TextStateMachine
from tokenizers.decoders import DecodeStream

from mlx_notebook.messages import Event, Reasoning, Text, TokenLogprob

_CONTENT, _REASONING = "content", "reasoning"


def text_stream(tokenizer: Any) -> Callable[[int], str]:
    """A function that takes one token after the other and returns the text each completes.

    Uses the tokenizers library's incremental decoder, mlx-lm's detokenizers for the few
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


@dataclass(frozen=True)
class Grammar:
    """The marks of one model's output: where thinking starts and ends."""

    think_start: str | None = None
    think_end: str | None = None

    def machine(self, stop: list[str]) -> TextStateMachine | None:
        """A machine that splits text at these marks and ends at a stop string; None if neither."""
        transitions: dict[str, list[tuple[str, str | None]]] = {}
        if self.think_start and self.think_end:
            transitions[_CONTENT] = [(self.think_start, _REASONING)]
            transitions[_REASONING] = [(self.think_end, _CONTENT)]
        if stop:
            transitions.setdefault(_CONTENT, []).extend((word, None) for word in stop)
        return TextStateMachine(transitions) if transitions else None


class OutputStream:
    """Turns the tokens of one row into `Text` and `Reasoning` events.

    Whitespace around a thinking block belongs to the marks, not to the texts, and is dropped.
    """

    def __init__(
        self,
        request_id: str,
        row: int,
        tokenizer: Any,
        grammar: Grammar,
        *,
        stop: list[str],
        thinking: bool,
    ):
        self._id, self._row = request_id, row
        self._decode = text_stream(tokenizer)
        machine = grammar.machine(stop)
        self._state = machine and machine.make_state(_REASONING if thinking else _CONTENT)
        self._kind = _REASONING if thinking else _CONTENT
        self._strip = thinking
        self._held = ""  # whitespace that may turn out to stand before the end of thinking
        self._tokens = 0
        self._logprobs: list[TokenLogprob] | None = None
        self.reasoning_tokens = 0
        self.raw: list[str] = []
        self.stopped = False

    def add(self, token: int, logprob: TokenLogprob | None, events: list[Event]) -> None:
        """Take one token; append what it completes to `events`. Sets `stopped` at a stop string."""
        self._tokens += 1
        if self._kind == _REASONING:
            self.reasoning_tokens += 1
        if logprob is not None:
            self._logprobs = [*(self._logprobs or []), logprob]
        text = self._decode(token)
        if text:
            self._take(text, events)
        elif logprob is not None:
            self._emit("", events)

    def finish(self, events: list[Event]) -> None:
        """The row has ended: let go of text held back as a possible mark."""
        if self._state is not None and not self.stopped:
            _, rest, _ = TextStateMachine.flush(self._state)
            self._state = None
            if rest:
                self._emit(rest, events)
        if self._tokens:
            self._emit("", events, force=True)

    def _take(self, text: str, events: list[Event]) -> None:
        self.raw.append(text)
        if self._state is None:
            self._emit(text, events)
            return
        self._state, segments = TextStateMachine.split(self._state, text)
        for kind, piece in segments:
            if kind is None:
                self.stopped = True
                break
            if kind != self._kind:
                self._kind, self._strip, self._held = kind, True, ""
            if piece:
                self._emit(piece, events)

    def _emit(self, text: str, events: list[Event], force: bool = False) -> None:
        if self._strip and text:
            text = text.lstrip()
            self._strip = not text
        if self._kind == _REASONING and text:
            text = self._held + text
            kept = text.rstrip()
            self._held, text = text[len(kept) :], kept
        if not (text or force or self._logprobs):
            return
        make = Reasoning if self._kind == _REASONING else Text
        events.append(make(self._id, self._row, text, self._tokens, self._logprobs))
        self._tokens, self._logprobs = 0, None
