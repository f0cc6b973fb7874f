"""Text that arrives in pieces, for parsers written as generators that pause for more of it.

A parser is a plain top-down function: it asks the source for the next literal, the text up to a
marker, a JSON value. Where the text so far does not decide, the source yields, and the reader
resumes the parser with the next piece. So one piece of code parses whole texts and streams.
"""

import re
from collections.abc import Callable, Generator
from typing import TypeVar

from mlx_notebook.engine.dialects.output_events import (
    CallArguments,
    CallEnd,
    CallStart,
    OutputEvent,
    ToolCall,
)
from mlx_notebook.engine.functions.declared import DeclaredFunctions, Function
from mlx_notebook.engine.functions.parse_errors import Malformed, Truncated

_T = TypeVar("_T")
Parsing = Generator[None, None, _T]
"""A parser at work: it yields to ask for more text and returns its result."""

_NOT_SPACE = re.compile(r"\S")


class TextSource:
    """The text of one call region, what of it is consumed, and the events made of it so far.

    `pos` is the first unread character of `text`; read characters may be dropped from `text` at
    any pause. `closed` says that no more text will come.
    """

    def __init__(self, tools: DeclaredFunctions, opening: str = "", index: int = 0) -> None:
        self.tools = tools
        self.text = ""
        self.pos = 0
        self.closed = False
        self.events: list[OutputEvent] = []
        self.index = index
        self.started: Function | None = None
        self._raw = [opening]
        self._arguments: list[str] = []

    # --- text in ------------------------------------------------------------------------------

    def feed(self, piece: str) -> None:
        """Append text."""
        if self.pos:
            self._raw.append(self.text[: self.pos])
            self.text = self.text[self.pos :]
            self.pos = 0
        self.text += piece

    @property
    def rest(self) -> str:
        """The unread text."""
        return self.text[self.pos :]

    @property
    def raw(self) -> str:
        """The text read since the last call ended."""
        return "".join(self._raw) + self.text[: self.pos]

    # --- reading ------------------------------------------------------------------------------

    def more(self, what: str = "the call") -> Parsing[None]:
        """Wait for more text; raises Truncated at the end of it."""
        if self.closed:
            raise Truncated(f"The text ends inside {what}.")
        yield

    def peek(self, count: int = 1) -> Parsing[str]:
        """Return the next `count` characters without reading them; fewer only at the end."""
        while len(self.text) - self.pos < count and not self.closed:
            yield
        return self.text[self.pos : self.pos + count]

    def space(self) -> Parsing[str]:
        """Skip white space and return the next character, or "" at the end."""
        while True:
            found = _NOT_SPACE.search(self.text, self.pos)
            if found is not None:
                self.pos = found.start()
                return found.group()
            self.pos = len(self.text)
            if self.closed:
                return ""
            yield

    def at_end(self) -> Parsing[bool]:
        """Say whether all of the text is read and no more will come."""
        return (yield from self.peek()) == ""

    def ahead(self) -> Parsing[str]:
        """Return the next character that is no white space, reading nothing; "" at the end."""
        while (found := _NOT_SPACE.search(self.text, self.pos)) is None:
            if self.closed:
                return ""
            yield
        return found.group()

    def accept(self, *literals: str) -> Parsing[str | None]:
        """Read the first of `literals` that comes next and return it; None if none does."""
        for literal in literals:
            while True:
                rest = self.text[self.pos : self.pos + len(literal)]
                if rest == literal:
                    self.pos += len(literal)
                    return literal
                if self.closed or not literal.startswith(rest):
                    break
                yield
        return None

    def expect(self, literal: str) -> Parsing[None]:
        """Read `literal`; raises Malformed where other text comes."""
        if (yield from self.accept(literal)) is None:
            if self.closed and literal.startswith(self.rest):
                raise Truncated("The text ends inside the call.")
            found = self.text[self.pos : self.pos + 20]
            raise Malformed(f"Expected {literal!r} in the call and found {found!r}.")

    def until(
        self, *markers: str, emit: Callable[[str], None] | None = None, keep: bool = False
    ) -> Parsing[tuple[str, str]]:
        """Read up to the first of `markers` and return the text before it and the marker.

        At one place the earlier named marker wins. With `emit`, the text goes there as it comes
        and "" is returned for it. With `keep`, the marker itself is left unread. Raises Truncated.
        """
        longest = max(map(len, markers))
        pattern = re.compile("|".join(map(re.escape, markers)))
        scan = self.pos
        while True:
            found = pattern.search(self.text, scan)
            # A longer marker may yet come where a shorter one already matches.
            if found is not None and not self._undecided(found.start(), markers, found.group()):
                before = self.text[self.pos : found.start()]
                self.pos = found.start() if keep else found.end()
                if emit is not None and before:
                    emit(before)
                    before = ""
                return before, found.group()
            safe = max(self.pos, len(self.text) - longest + 1)
            if found is not None:
                safe = min(safe, found.start())
            if emit is not None and safe > self.pos:
                emit(self.text[self.pos : safe])
                self.pos = safe
            held = safe - self.pos
            yield from self.more()
            scan = self.pos + held

    def _undecided(self, at: int, markers: tuple[str, ...], matched: str) -> bool:
        if self.closed:
            return False
        rest = self.text[at:]
        earlier = markers[: markers.index(matched)]
        return any(marker.startswith(rest) for marker in earlier)

    # --- events out ---------------------------------------------------------------------------

    def start(self, name: str) -> Function:
        """Begin a call of `name`; raises Malformed for a function that is not declared."""
        function = self.tools.resolve(name)
        self.started = function
        self._arguments = []
        self.events.append(CallStart(self.index, function.name))
        return function

    def arguments(self, text: str) -> None:
        """Send more of the arguments' JSON text."""
        if not text:
            return
        self._arguments.append(text)
        if self.events and isinstance(last := self.events[-1], CallArguments):
            self.events[-1] = CallArguments(self.index, last.text + text)
        else:
            self.events.append(CallArguments(self.index, text))

    @property
    def given(self) -> str:
        """The text of the arguments so far."""
        return "".join(self._arguments)

    @property
    def can_replace(self) -> bool:
        """Whether nothing of the call that was begun has gone out yet."""
        return any(isinstance(e, CallStart) and e.index == self.index for e in self.events)

    def replace(self, text: str) -> None:
        """Take `text` for the arguments in place of what was sent of them; see `can_replace`."""
        self.events = [
            event
            for event in self.events
            if not (isinstance(event, CallArguments) and event.index == self.index)
        ]
        self._arguments = []
        self.arguments(text)

    def end(self) -> None:
        """End the call that was begun; what was read so far is its raw text."""
        assert self.started is not None
        call = ToolCall(self.started.name, "".join(self._arguments), self.raw)
        self.events.append(CallEnd(self.index, call))
        self.index += 1
        self.started = None
        self.text = self.rest
        self.pos = 0
        self._raw = []
