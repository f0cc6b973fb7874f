"""Follow brackets, strings and comments through code, character by character."""

_CLOSERS = {"(": ")", "[": "]", "{": "}"}


class CodeScanner:
    """Knows which brackets and which string are open.

    It knows no language: quotes, brackets and a mark for comments are enough to find the end of a
    statement. A string with single quotes ends with its line.

    Parameters
    ----------
    comment
        What begins a comment, for example `#`.

    Attributes
    ----------
    expected
        The closing brackets that are still to come, the next one last.
    quote
        The quotes that opened the present string; empty outside of strings.
    in_comment
        Whether the present line is in a comment.
    """

    def __init__(self, comment: str = "#") -> None:
        self._comment = comment
        self.expected: list[str] = []
        self.quote = ""
        self.in_comment = False
        self._quotes = "'\"`" if comment == "//" else "'\""
        self._escaped = False
        self._count = 0  # quotes in a row inside a string
        self._empty = False  # whether the present string has no characters yet
        self._closed = ""  # the quote of an empty string that has just ended
        self._line = ""  # the last characters of this line

    @property
    def in_code(self) -> bool:
        """Whether the next character is code: outside of strings and comments."""
        return not (self.quote or self.in_comment)

    @property
    def in_long_string(self) -> bool:
        """Whether a string is open that goes on in the next line."""
        return len(self.quote) == 3 or self.quote == "`"

    def feed(self, text: str) -> None:
        """Read text."""
        for character in text:
            self._take(character)

    def _take(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif self.in_comment:
            self.in_comment = character != "\n"
        elif self.quote:
            self._in_string(character)
        else:
            self._in_code(character)

    def _in_string(self, character: str) -> None:
        if character == self.quote[0]:
            self._count += 1
            if self._count == len(self.quote):
                self._closed = character if self._empty else ""
                self.quote = ""
            return
        self._count = 0
        self._empty = False
        self._escaped = character == "\\"
        if character == "\n" and not self.in_long_string:
            self.quote = ""

    def _in_code(self, character: str) -> None:
        closed, self._closed = self._closed, ""
        self._line = "" if character == "\n" else (self._line + character)[-2:]
        if character == closed:  # the third of three quotes
            self.quote, self._count, self._empty = character * 3, 0, False
        elif character in self._quotes:
            self.quote, self._count, self._empty = character, 0, True
        elif self._comment and self._line.endswith(self._comment):
            self.in_comment = True
        elif character in _CLOSERS:
            self.expected.append(_CLOSERS[character])
        elif self.expected and character == self.expected[-1]:
            self.expected.pop()
