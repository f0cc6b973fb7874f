"""A row's grammar at work: which tokens may come next, and what was chosen.

Where an answer is free until something appears in it (a call, the end of reasoning), the grammar is
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

from mlx_notebook.engine.errors import ConstraintFailed, EngineError
from mlx_notebook.engine.grammar.grammar_tokenizer import GrammarTokenizer
from mlx_notebook.engine.sandbox.grammar_limits import explain


class Trigger(msgspec.Struct, frozen=True):
    """A text after which a grammar begins to apply.

    With `first`, only at the beginning of the answer, white space aside. `again` returns to free
    text when the grammar is fulfilled; otherwise the answer must end there. With `binding`, the
    text after it must fit the grammar; otherwise a text that does not fit was not meant. A trigger
    without `matcher` is a mark after which the answer begins anew, such as the end of reasoning.
    """

    text: bytes
    matcher: llguidance.LLMatcher | None
    first: bool = False
    again: bool = False
    binding: bool = False


class Grammar:
    """A compiled constraint, to be shared; `row` makes the state of one row.

    `begin` applies from the first token; without it, the text is free until a trigger. `name` and
    `param` are what sentences call it, and the request's parameter that asks for it.
    """

    def __init__(
        self,
        tokens: GrammarTokenizer,
        begin: llguidance.LLMatcher | None,
        triggers: Sequence[Trigger] = (),
        name: str = "The format",
        param: str = "response_format",
    ) -> None:
        self.name, self.param = name, param
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
    is free, `fill` has nothing to write and `advance` costs about a microsecond. Once `failure`
    says that the grammar cannot be followed any more, the row must end.
    """

    def __init__(
        self,
        grammar: Grammar,
        tokens: GrammarTokenizer,
        begin: llguidance.LLMatcher | None,
        triggers: Sequence[Trigger],
    ) -> None:
        self._grammar = grammar
        self._tokens = tokens
        self._active = begin
        self._again, self._binding = False, begin is not None
        self._triggers = triggers
        self._keep = max((len(trigger.text) for trigger in triggers), default=1) - 1
        self._anchored = any(trigger.first for trigger in triggers)
        self._tail = b""
        self._head = b""
        self.failure: EngineError | None = None

    def advance(self, token: int) -> None:
        """Take note of a token that was chosen."""
        if self._active is None:
            if self._triggers:
                self._watch(self._tokens.bytes_of(token))
            return
        self._consume([token])

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Write the allowed tokens into `mask`, a bit each; False: all are.

        `mask` is one contiguous row of `(width + 31) // 32` words.
        """
        active = self._active
        if active is None:
            return False
        active.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if active.is_error():
            self._fail(explain(active.get_error()))
        return True

    def _consume(self, tokens: list[int]) -> None:
        active = self._active
        assert active is not None
        if active.is_stopped() and tokens and tokens[-1] in self._tokens.eos:
            return
        if active.try_consume_tokens(tokens) < len(tokens):
            if active.is_error():
                self._fail(explain(active.get_error()))
            elif self._binding:
                self._fail("the text left it before it applied")
            self._active = None
            self._triggers = ()
            return
        # Only a trigger's own text may fail to fit: every later token was allowed by a mask.
        self._binding = True
        if self._again and active.is_stopped():
            self._active = None
            self._tail = self._head = b""
            self._anchored = False

    def _fail(self, reason: str) -> None:
        """The rest of the answer cannot be constrained: it must not pass for one that was."""
        self.failure = ConstraintFailed(
            f"{self._grammar.name} could not be enforced to the end: {reason}.",
            self._grammar.param,
        )

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
        self._binding = trigger.binding
        if rest:
            self._consume(self._tokens.encode(rest))
