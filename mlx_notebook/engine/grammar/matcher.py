"""A row's grammar at work: which tokens may come next, and what was chosen.

Where an answer is free until something appears in it (a call, the end of thinking), the grammar is
not one that describes the free text too, but one that begins when the text appears. So free text
costs no masks, may hold any special token, and a call is a call wherever the reader sees one. What
a token brings beyond the text that begins the grammar is fed to the grammar first; if it does not
fit, the text goes on unconstrained and the reader decides what it is.
"""

import threading
from collections.abc import Sequence

import llguidance
import msgspec
import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.grammar.tokens import Tokens


class Trigger(msgspec.Struct, frozen=True):
    """A text after which a grammar begins to apply.

    With `first`, only at the beginning of the answer, white space aside. `again` returns to free
    text when the grammar is fulfilled; otherwise the answer must end there. A trigger without
    `matcher` is a mark after which the answer begins anew, such as the end of thinking.
    """

    text: bytes
    matcher: llguidance.LLMatcher | None
    first: bool = False
    again: bool = False


class Grammar:
    """A compiled constraint, to be shared; `row` makes the state of one row.

    `begin` applies from the first token; without it, the text is free until a trigger.
    """

    def __init__(
        self,
        tokens: Tokens,
        begin: llguidance.LLMatcher | None,
        triggers: Sequence[Trigger] = (),
    ) -> None:
        self._tokens = tokens
        self._begin = begin
        self._triggers = tuple(triggers)
        self._lock = threading.Lock()

    def copy(self, matcher: llguidance.LLMatcher) -> llguidance.LLMatcher:
        """Return a fresh copy of one of this grammar's matchers."""
        with self._lock:
            return matcher.deep_copy()

    def row(self) -> "Matcher":
        """Return a matcher for one row; takes some microseconds."""
        begin = self.copy(self._begin) if self._begin is not None else None
        return Matcher(self, self._tokens, begin, self._triggers)


class Matcher:
    """One row's state; the sampler's constraint. Not for use by two threads at once.

    `advance` takes every chosen token in turn, `fill` writes what may come next. While the text
    is free, `fill` has nothing to write and `advance` costs about a microsecond.
    """

    def __init__(
        self,
        grammar: Grammar,
        tokens: Tokens,
        begin: llguidance.LLMatcher | None,
        triggers: Sequence[Trigger],
    ) -> None:
        self._grammar = grammar
        self._tokens = tokens
        self._active = begin
        self._again = False
        self._triggers = triggers
        self._keep = max((len(trigger.text) for trigger in triggers), default=1) - 1
        self._anchored = any(trigger.first for trigger in triggers)
        self._tail = b""
        self._head = b""
        self.error: str | None = None

    @property
    def active(self) -> bool:
        """Whether a grammar applies to the next token."""
        return self._active is not None

    @property
    def accepting(self) -> bool:
        """Whether the answer may end here."""
        return self._active is None or self._active.is_accepting()

    @property
    def stopped(self) -> bool:
        """Whether nothing may come but the end of the answer."""
        return self._active is not None and self._active.is_stopped()

    def advance(self, token: int) -> None:
        """Take note of a token that was chosen.

        A token that the grammar forbids (one chosen before the grammar began to apply) ends the
        constraint; `error` then says so.
        """
        if self._active is None:
            if self._triggers:
                self._watch(self._tokens.bytes_of(token))
            return
        self._consume([token])

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Write the allowed tokens into `mask`, a bit each; False: all are.

        `mask` is one contiguous row of `(width + 31) // 32` words.
        """
        if self._active is None:
            return False
        self._active.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        return True

    def _consume(self, tokens: list[int]) -> None:
        active = self._active
        assert active is not None
        if active.is_stopped() and tokens and tokens[-1] in self._tokens.eos:
            return
        if active.try_consume_tokens(tokens) < len(tokens):
            self.error = "The text left the grammar before the grammar applied to it."
            self._active = None
            self._triggers = ()
        elif self._again and active.is_stopped():
            self._active = None
            self._tail = self._head = b""
            self._anchored = False

    def _watch(self, data: bytes) -> None:
        """Look for a trigger in free text."""
        if self._anchored and self._at_beginning(data):
            return
        text = self._tail + data
        for trigger in self._triggers:
            if trigger.first:
                continue
            at = text.find(trigger.text)
            if at >= 0:
                self._pull(trigger, text[at + len(trigger.text) :])
                return
        self._tail = text[-self._keep :] if self._keep else b""

    def _at_beginning(self, data: bytes) -> bool:
        """Look for the triggers that must stand first; say whether one was pulled."""
        self._head = (self._head + data).lstrip()
        waiting = False
        for trigger in self._triggers:
            if trigger.first and self._head.startswith(trigger.text):
                self._pull(trigger, self._head[len(trigger.text) :])
                return True
            waiting = waiting or (trigger.first and trigger.text.startswith(self._head))
        self._anchored = waiting
        return False

    def _pull(self, trigger: Trigger, rest: bytes) -> None:
        """Begin the trigger's grammar; `rest` is what the token brought beyond the trigger."""
        self._tail = self._head = b""
        self._anchored = False
        if trigger.matcher is None:
            self._anchored = any(other.first for other in self._triggers)
            if rest:
                self._watch(rest)
            return
        self._active = self._grammar.copy(trigger.matcher)
        self._again = trigger.again
        if rest:
            self._consume(self._tokens.encode(rest))
