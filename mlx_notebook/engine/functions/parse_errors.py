"""Errors of parsing a tool call.

ParseError              the text is not a call in the model's dialect
├── Malformed           the syntax is wrong, or the function is not declared
└── Truncated           the text ends inside a call
"""


class ParseError(ValueError):
    """Text that is not a call in the model's dialect."""


class Malformed(ParseError):
    """Text with the wrong syntax, or a call of a function that is not declared."""


class Truncated(ParseError):
    """Text that ends inside a call."""
