"""What is wrong with the text of a tool call.

ParseError              the text is not a call in its dialect
├── Malformed           its syntax is wrong, or it names an undeclared function
└── Truncated           it ended inside a call
"""


class ParseError(ValueError):
    """Text that is no call in its dialect; the message says what is wrong."""


class Malformed(ParseError):
    """The text breaks the dialect's syntax, or names a function that was not declared."""


class Truncated(ParseError):
    """The text ended inside a call."""
