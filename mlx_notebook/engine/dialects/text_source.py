"""A source of text for parsers that are generators and pause when they need more text.

A parser is a recursive-descent function: it asks the source for the next literal, the text up to a
marker, or a JSON value. If the text so far is not enough, the source yields, and the reader resumes
the parser with the next piece. So the same code parses whole texts and streams.
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
"""A running parser: it yields when it needs more text, and returns its result."""

_NOT_SPACE = re.compile(r"\S")


class TextSource:
    """The text of one call region, the position in it, and the events so far.

    `pos` is the index of the first unread character of `text`. `feed` may drop characters that are
    read. `closed` says that there is no more text.
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
        """Wait for more text. Raise Truncated if there is no more."""
        if self.closed:
            raise Truncated(f"The text ends inside {what}.")
        yield

    def peek(self, count: int = 1) -> Parsing[str]:
        """Return the next `count` characters without reading them; fewer at the end."""
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
        """Return whether all text is read and there is no more."""
        return (yield from self.peek()) == ""

    def ahead(self) -> Parsing[str]:
        """Return the next character after white space without reading it; "" at the end."""
        while (found := _NOT_SPACE.search(self.text, self.pos)) is None:
            if self.closed:
                return ""
            yield
        return found.group()

    def accept(self, *literals: str) -> Parsing[str | None]:
        """Read the first of `literals` that matches and return it; None if none matches."""
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
        """Read `literal`. Raise Malformed if the text is different."""
        if (yield from self.accept(literal)) is None:
            if self.closed and literal.startswith(self.rest):
                raise Truncated("The text ends inside the call.")
            found = self.text[self.pos : self.pos + 20]
            raise Malformed(f"Expected {literal!r} in the call and found {found!r}.")

    def until(
        self, *markers: str, emit: Callable[[str], None] | None = None, keep: bool = False
    ) -> Parsing[tuple[str, str]]:
        """Read up to the first of `markers` and return the text before it and the marker.

        If several markers match at a place, the first in `markers` wins. With `emit`, the text is
        passed to it piece by piece and "" is returned instead. With `keep`, the marker is not read.

        Raises
        ------
        Truncated
            If the text ends before a marker.
        """
        longest = max(map(len, markers))
        pattern = re.compile("|".join(map(re.escape, markers)))
        scan = self.pos
        while True:
            found = pattern.search(self.text, scan)
            # A longer marker may still match where a shorter one does.
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
        """Begin a call of `name`. Raise Malformed if the function is not declared."""
        function = self.tools.resolve(name)
        self.started = function
        self._arguments = []
        self.events.append(CallStart(self.index, function.name))
        return function

    def arguments(self, text: str) -> None:
        """Add to the JSON text of the arguments."""
        if not text:
            return
        self._arguments.append(text)
        if self.events and isinstance(last := self.events[-1], CallArguments):
            self.events[-1] = CallArguments(self.index, last.text + text)
        else:
            self.events.append(CallArguments(self.index, text))

    @property
    def given(self) -> str:
        """The JSON text of the arguments so far."""
        return "".join(self._arguments)

    @property
    def can_replace(self) -> bool:
        """Whether no event of the current call was taken from `events` yet."""
        return any(isinstance(e, CallStart) and e.index == self.index for e in self.events)

    def replace(self, text: str) -> None:
        """Replace the JSON text of the arguments; only if `can_replace`."""
        self.events = [
            event
            for event in self.events
            if not (isinstance(event, CallArguments) and event.index == self.index)
        ]
        self._arguments = []
        self.arguments(text)

    def end(self) -> None:
        """End the current call. The text read so far is its raw text."""
        assert self.started is not None
        call = ToolCall(self.started.name, "".join(self._arguments), self.raw)
        self.events.append(CallEnd(self.index, call))
        self.index += 1
        self.started = None
        self.text = self.rest
        self.pos = 0
        self._raw = []
