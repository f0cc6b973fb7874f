"""Find the end of a gap's text while it is generated.

A model does not know how much of its text a person wants to see at once. The text ends

- at the end of the line, where text follows the gap or one line is asked for;
- before a blank line, before a line with less indentation, and where the block that the text has
  begun is complete;
- before the text that follows the gap, and before a bracket or quote that follows it.

Inside brackets that the text itself has opened it does not end. White space at its end is dropped.
"""

from mlx_notebook.engine.infilling.gap_place import GapPlace, width

_CLOSERS = ")]}"
_OPENERS = (":", "{")
_CONTINUE = ("else", "elif", "except", "finally", "catch")
"""Words that continue a block which a line of the same indentation would end."""


class CodeEnd:
    """Reads the text of one gap piece by piece, and ends it.

    Attributes
    ----------
    ended
        Whether the text is complete.
    """

    def __init__(self, place: GapPlace) -> None:
        self.ended = False
        self._place = place
        self._scanner = place.scanner()
        self._around = len(self._scanner.expected)  # brackets that are open around the gap
        self._missing = place.missing
        self._own_string = not self._scanner.quote  # whether the gap's text opens the strings in it
        self._base: int | None = place.indent if place.head else None
        self._opened = self._opens(place.head)
        self._closes = False  # whether the present line closes the block around the gap
        self._line = place.head  # the text of the present line, without its indentation
        self._first = True  # whether the present line is the gap's own
        self._indentation = " " * place.indent
        self._space = ""  # white space that is shown if text follows
        self._held = ""  # text of this line that is shown if the line may begin with it
        self._begun = bool(place.head) or not self._own_string
        self._shown = False

    def feed(self, text: str) -> str:
        """Read new text; return the text that is certain to belong to the gap."""
        shown: list[str] = []
        for character in text:
            if self.ended:
                break
            shown.append(self._take(character))
        return "".join(shown)

    def finish(self) -> str:
        """End the text where the model ended it; return the rest of it."""
        if self.ended or self._repeats():
            return ""
        return self._release()

    def _take(self, character: str) -> str:
        if character == "\n":
            return self._end_line()
        if not self._begun and not self._line and character in " \t":
            self._indentation += character
            self._space += character
            return ""
        if not self._begun:
            return self._begin_line(character)
        return self._go_on(character)

    # --- within a line ----------------------------------------------------------------------------

    def _go_on(self, character: str) -> str:
        """Read a character of a line that has begun."""
        if self._leaves(character):
            return self._end()
        outside = self._is_outside
        self._scanner.feed(character)
        self._line += character
        rest = self._place.rest
        if not (self._first and rest):
            return self._show_later(character)
        # The text after the gap may come here.
        held = self._held + character if self._held or outside else ""
        free = "" if held else character
        while held and not rest.startswith(held):
            free, held = free + held[0], held[1:]
        self._held = held
        if held == rest:
            return self._end()
        return self._show_later(free)

    @property
    def _is_outside(self) -> bool:
        """Whether the text is outside of strings, and of brackets that it opened itself."""
        return self._scanner.in_code and len(self._scanner.expected) <= self._around

    def _leaves(self, character: str) -> bool:
        """Return whether a character closes what is open around the gap and is closed after it."""
        scanner = self._scanner
        if scanner.quote:
            ends = not self._own_string and character == scanner.quote[0]
            return ends and self._follows.startswith(character)
        self._own_string = True
        if not scanner.in_code or character not in _CLOSERS or not self._is_outside:
            return False
        if not self._missing or character != scanner.expected[-1]:
            return True
        self._missing -= 1
        self._around -= 1
        return False

    @property
    def _follows(self) -> str:
        """The text that follows the gap, if the present line is its last one."""
        rest = self._place.rest
        return rest if self._first and rest else self._place.next_line

    def _release(self) -> str:
        """Return the text that is held back."""
        held, self._held = self._held, ""
        return self._show_later(held)

    def _show_later(self, text: str) -> str:
        """Return text without white space at its end, which is shown if more text follows."""
        kept = text.rstrip()
        if not kept:
            self._space += text
            return ""
        shown = self._show(kept)
        self._space = text[len(kept) :]
        return shown

    def _show(self, text: str) -> str:
        shown, self._space = self._space + text, ""
        self._shown = True
        return shown

    # --- lines ------------------------------------------------------------------------------------

    def _end_line(self) -> str:
        """Read the end of a line."""
        scanner = self._scanner
        if self._repeats():
            return self._end()
        shown = self._release()
        if self._place.single_line:
            return shown + self._end()
        opens = self._opens(self._line)
        inside = scanner.in_long_string or len(scanner.expected) > self._around
        scanner.feed("\n")
        self._space += "\n"
        blank = not self._line.strip() and self._shown
        if not inside and (blank or self._closes):
            return shown + self._end()
        if opens and (inside or width(self._indentation) == self._base):
            self._opened = True
        self._first = False
        self._line = self._indentation = ""
        self._begun = inside
        return shown

    def _begin_line(self, character: str) -> str:
        """Read a character at the beginning of a line, until it is certain that the line counts."""
        line = self._line + character
        closer = not self._line and character in _CLOSERS
        if not closer and not self._may_begin(line):
            return self._end()
        if not self._line and self._leaves(character):
            return self._end()
        self._closes |= closer and character == "}"
        if self._base is None:
            self._base = width(self._indentation)
        self._scanner.feed(character)
        self._line = line
        self._held += character
        undecided = self._opened and any(word.startswith(line) for word in _CONTINUE)
        if self._follows.startswith(line) or undecided:
            return ""
        self._begun = True
        return self._release()

    def _may_begin(self, line: str) -> bool:
        """Return whether a line belongs to the text, by its indentation and first characters."""
        if self._base is None:
            return True
        indent = width(self._indentation)
        if indent != self._base or not self._opened:
            return indent >= self._base
        if any(word.startswith(line) for word in _CONTINUE):
            return True
        return any(line.startswith(word) and not line[len(word)].isalnum() for word in _CONTINUE)

    def _opens(self, line: str) -> bool:
        return not self._scanner.in_comment and line.rstrip().endswith(_OPENERS)

    def _repeats(self) -> bool:
        """Return whether the line that is held back is the one that follows the gap."""
        return bool(self._held) and not self._begun and self._line.strip() == self._follows

    def _end(self) -> str:
        self.ended = True
        self._space = self._held = ""
        return ""
