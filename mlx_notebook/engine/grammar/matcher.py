"""Follow a grammar while a row is generated: which tokens are allowed next.

An answer may be free text until a trigger appears in it (the start of a call, the end of the
reasoning). The grammar applies only after the trigger. So free text needs no masks, may hold any
special token, and a call is constrained wherever the reader would find one. If a token continues
after the trigger, its rest is fed to the grammar first. If the rest does not fit, the text stays
unconstrained and the reader decides what it is.
"""

import copy
import threading
from collections.abc import Sequence
from typing import Self

import llguidance
import msgspec
import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.errors import ConstraintFailed, EngineError
from mlx_notebook.engine.grammar.grammar_tokenizer import GrammarTokenizer
from mlx_notebook.engine.grammar.unique.unique_items import UniqueItems, UniqueItemsRow
from mlx_notebook.engine.sandbox.grammar_limits import explain

MAX_FORCED = 64
"""Most tokens that a matcher forces at once. Each takes about 30 microseconds to find."""


class Trigger(msgspec.Struct, frozen=True):
    """A text after which a grammar applies.

    Attributes
    ----------
    text
        The text as bytes.
    matcher
        The grammar. None for a text after which the answer starts anew, as the end of reasoning.
    first
        Only at the beginning of the answer, after white space.
    again
        Return to free text when the grammar is complete. Otherwise the answer ends there.
    binding
        The text after the trigger must fit the grammar. Otherwise text that does not fit is free.
    """

    text: bytes
    matcher: llguidance.LLMatcher | None
    first: bool = False
    again: bool = False
    binding: bool = False


class Grammar:
    """A compiled grammar, shared by rows. `row` makes the state of one row.

    `begin` applies from the first token. Without it, the text is free until a trigger. `name` is
    the name in error messages, `param` the request's parameter that asks for it. `unique` is what
    the grammar cannot say of the items of arrays.
    """

    def __init__(
        self,
        tokens: GrammarTokenizer,
        begin: llguidance.LLMatcher | None,
        triggers: Sequence[Trigger] = (),
        name: str = "The format",
        param: str = "response_format",
        unique: UniqueItems | None = None,
    ) -> None:
        self.unique = unique
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
    """The state of one row, as a constraint for the sampler. Not thread-safe.

    `advance` processes every sampled token, and `fill` writes the allowed tokens. While the text is
    free, `fill` writes nothing and `advance` takes about a microsecond. If `failure` is set, the
    grammar cannot be followed any more and the row must end.
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
        # The tokens that must follow, as far as they are known, from the last one to the next one.
        self._forced: list[int] = []
        self._unique: UniqueItemsRow | None = grammar.unique.row() if grammar.unique else None
        self.failure: EngineError | None = None

    def advance(self, token: int) -> None:
        """Process a token that was sampled."""
        if self._forced and self._forced.pop() != token:
            self._forced = []
        if self._active is None:
            if self._triggers:
                self._watch(self._tokens.bytes_of(token))
            return
        self._consume([token])

    def fill(self, mask: npt.NDArray[np.uint32]) -> bool:
        """Write the allowed tokens into `mask`, one bit each. Return False if all are allowed.

        `mask` is one contiguous row of `(width + 31) // 32` words.
        """
        active = self._active
        if active is None:
            return False
        if self._forced:
            token = self._forced[-1]
            mask[:] = 0
            mask[token // 32] = np.uint32(1 << (token % 32))
            return True
        active.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if active.is_error():
            self._fail(explain(active.get_error()))
        elif self._unique is not None:
            self._unique.restrict(active, mask)
            if not mask.any():
                self._fail("every item that may follow repeats an earlier one")
        return True

    def forced(self) -> list[int]:
        """Return up to `MAX_FORCED` tokens that the grammar leaves no choice about.

        llguidance leaves out the last one where a longer token could take its place. An end token
        is never among them. It takes 1 to 10 microseconds if nothing is forced.
        """
        active = self._active
        if active is None or self.failure is not None:
            return []
        if not self._forced:
            self._forced = self._look_ahead(active)
            self._forced.reverse()
        return self._forced[::-1]

    def copy(self) -> Self:
        """Return an independent copy; takes some microseconds."""
        twin = copy.copy(self)
        twin._active = self._active.deep_copy() if self._active is not None else None
        twin._forced = self._forced.copy()
        twin._unique = self._unique.copy() if self._unique is not None else None
        return twin

    def _look_ahead(self, active: llguidance.LLMatcher) -> list[int]:
        """Return the tokens that the masks would allow one by one, as long as each allows one.

        llguidance is asked again after each token: after a border inside a character or a word it
        may split the rest of the text in another way than before.
        """
        following = active.compute_ff_tokens()
        if active.is_error():
            self._fail(explain(active.get_error()))
        if not following:
            return []
        ahead, run = active.deep_copy(), list[int]()
        while following and len(run) < MAX_FORCED:
            token = following[0]
            if token in self._tokens.eos or ahead.try_consume_tokens([token]) < 1:
                break
            run.append(token)
            following = ahead.compute_ff_tokens()
        return run

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
        # Only text of the trigger's token may fail to fit. Later tokens were allowed by a mask.
        self._binding = True
        if self._unique is not None:
            text = b"".join(map(self._tokens.bytes_of, tokens))
            if not self._unique.advance(text):
                self._fail("an item repeats an earlier one")
        if self._again and active.is_stopped():
            self._active = None
            self._tail = self._head = b""
            self._anchored = False

    def _fail(self, reason: str) -> None:
        """Set the error: the rest of the answer cannot be constrained."""
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
                self._trigger(trigger, text[at + len(trigger.text) :])
                return
        self._tail = text[-self._keep :] if self._keep else b""

    def _at_beginning(self, data: bytes) -> bool:
        """Look for triggers at the beginning of the answer. Return whether one was found."""
        self._head = (self._head + data).lstrip()
        waiting = False
        for trigger in self._triggers:
            if trigger.first and self._head.startswith(trigger.text):
                self._trigger(trigger, self._head[len(trigger.text) :])
                return True
            waiting = waiting or (trigger.first and trigger.text.startswith(self._head))
        self._anchored = waiting
        return False

    def _trigger(self, trigger: Trigger, rest: bytes) -> None:
        """Start the trigger's grammar. `rest` is the part of the token after the trigger."""
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
