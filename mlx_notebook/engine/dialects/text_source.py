"""A source of text for parsers that are generators and pause when they need more text.

A parser is a recursive-descent function: it asks the source for the next literal, the text up to a
marker, or a JSON value. If the text so far is not enough, the source yields, and the reader resumes
the parser with the next piece. So the same code parses whole texts and streams.
"""

import re
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import TypeVar

from mlx_notebook.engine.dialects.fences import FENCE, is_closing, is_closing_begun
from mlx_notebook.engine.dialects.output_events import (
    CallArguments,
    CallEnd,
    CallFailed,
    CallStart,
    Content,
    OutputEvent,
    ToolCall,
)
from mlx_notebook.engine.functions.declared import DeclaredFunctions, Function
from mlx_notebook.engine.functions.parse_errors import Malformed, Truncated

_T = TypeVar("_T")
Parsing = Generator[None, None, _T]
"""A running parser: it yields when it needs more text, and returns its result."""

_NOT_SPACE = re.compile(r"\S")


@lru_cache(maxsize=256)
def _find_any(markers: tuple[str, ...]) -> tuple[int, re.Pattern[str]]:
    """Return the length of the longest marker, and a pattern that finds any."""
    return max(map(len, markers)), re.compile("|".join(map(re.escape, markers)))


class TextSource:
    """The text of one call region, the position in it, and the events so far.

    `pos` is the index of the first unread character of `text`. `feed` may drop characters that are
    read. `closed` says that there is no more text. `lenient` says that no grammar made the text, so
    that slips are to be expected.

    A call of a function that is not declared is read like any other, and becomes content when it
    ends. `refused` is the reason, while it is read. With `strict`, it is an error at once if it is
    the first call.
    """

    def __init__(
        self,
        tools: DeclaredFunctions,
        opening: str = "",
        index: int = 0,
        *,
        strict: bool = False,
        lenient: bool = True,
    ) -> None:
        self.tools = tools
        self.lenient = lenient
        self._strict = strict
        self._first = index
        self.refused = ""
        self.text = ""
        self.pos = 0
        self.closed = False
        self.events: list[OutputEvent] = []
        self.index = index
        self.started: Function | None = None
        self._raw = [opening]
        self._arguments: list[str] = []
        self._apart: list[tuple[int, int]] = []  # beginnings and ends in `raw`

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

    def ahead(self) -> Parsing[str]:
        """Return the next character after white space without reading it; "" at the end."""
        while (found := _NOT_SPACE.search(self.text, self.pos)) is None:
            if self.closed:
                return ""
            yield
        return found.group()

    def comes(self, *literals: str) -> Parsing[bool]:
        """Return whether one of `literals` follows white space, or its beginning at the end."""
        while True:
            rest = self.rest.lstrip()
            if any(rest.startswith(literal) for literal in literals):
                return True
            begun = any(literal.startswith(rest) for literal in literals)
            if not begun or self.closed:
                return begun
            yield

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

    def skip(self, *literals: str, partly: bool = True) -> Parsing[None]:
        """Read `literals`, each as often as it comes, with the white space before them.

        With `partly`, the beginning of one is read too at the end of the text.
        """
        while literals:
            rest = self.rest.lstrip()
            found = [literal for literal in literals if rest.startswith(literal)]
            begun = [item for item in literals if item.startswith(rest) and item not in found]
            if begun and not self.closed:
                yield
            elif found:
                self.pos = len(self.text) - len(rest) + max(map(len, found))
            else:
                if begun and rest and partly:
                    self.pos = len(self.text)
                return

    def open_fence(self) -> Parsing[bool]:
        """Read the first line of a code block, after white space. Return whether there is one."""
        before = self.pos
        yield from self.skip("```json", FENCE)
        return self.pos > before

    def close_fence(self) -> Parsing[bool]:
        """Read the fence that closes a code block, or its beginning at the end of the text.

        Return whether there is one. A fence with a language opens another block.
        """
        while is_closing_begun(self.rest) and not self.closed:
            yield
        body = self.rest.lstrip()
        if is_closing_begun(body):
            self.pos = len(self.text)
        elif is_closing(body):
            self.pos = len(self.text) - len(body) + len(FENCE)
        else:
            return False
        return True

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
        longest, pattern = _find_any(markers)
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

    def set_apart(self, text: str) -> None:
        """Set text apart that stands in the region and belongs to no call.

        It becomes content when a call is made. `text` is what was read last.
        """
        if text.strip():
            end = len(self.raw)
            self._apart.append((end - len(text), end))

    def take_apart(self) -> tuple[str, list[Content]]:
        """Return the text read since the last call, and what was set apart in it, as content."""
        raw = self.raw
        apart: list[Content] = []
        for start, end in reversed(self._apart):
            apart.insert(0, Content(raw[start:end].rstrip()))
            raw = raw[:start] + raw[end:]
        self._apart = []
        return raw, apart

    # --- events out ---------------------------------------------------------------------------

    def start(self, name: str) -> Function:
        """Begin a call of `name`.

        Raises
        ------
        Malformed
            If there is no name, or with `strict` if the function is not declared.
        """
        self._arguments = []
        try:
            function = self.tools.resolve(name)
        except Malformed as error:
            if not name or (self._strict and self.index == self._first):
                raise
            self.refused = str(error)
            self.started = Function(name)
            return self.started
        self.started = function
        self.events.append(CallStart(self.index, function.name))
        return function

    def arguments(self, text: str) -> None:
        """Add to the JSON text of the arguments."""
        if not text:
            return
        self._arguments.append(text)
        if self.refused:
            return
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
        begun = any(isinstance(e, CallStart) and e.index == self.index for e in self.events)
        return begun or bool(self.refused)

    def replace(self, text: str) -> None:
        """Replace the JSON text of the arguments; only if `can_replace`."""
        self.events = [
            event
            for event in self.events
            if not (isinstance(event, CallArguments) and event.index == self.index)
        ]
        self._arguments = []
        self.arguments(text)

    def end(self, text: str = "") -> None:
        """End the current call. Its raw text is `text`, or else the text read since the last."""
        assert self.started is not None
        if self.refused:
            raw = text or self.raw
            self.events += [CallFailed(raw, self.refused), Content(raw)]
            self.refused = ""
        else:
            raw, apart = self.take_apart()
            raw = text or raw
            call = ToolCall(self.started.name, "".join(self._arguments), raw)
            self.events.append(CallEnd(self.index, call))
            # Before the call, unless its beginning was taken already.
            start = CallStart(self.index, call.name)
            at = self.events.index(start) if start in self.events else len(self.events)
            self.events[at:at] = apart
            self.index += 1
        self.started = None
        self.text = self.rest
        self.pos = 0
        self._raw = []
        self._apart = []
