"""Errors of output constraints.

GrammarError            the request asks for something that cannot be enforced (a 400)
└── NotEnforceable      tool calls that cannot be enforced in the model's dialect
"""


class GrammarError(ValueError):
    """An output constraint that cannot be enforced.

    The message names the feature or the dialect. `param` is the request's parameter at fault.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NotEnforceable(GrammarError):
    """Tool calls that cannot be enforced in this model's dialect."""


def is_failure(error: BaseException) -> bool:
    """Return whether a library failed. llguidance's panics are not subclasses of Exception."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
