"""Why an output constraint is refused.

GrammarError            the request asks for something that cannot be enforced (a 400)
└── NotEnforceable      a tool-call dialect, or a schema in it, that cannot be enforced
"""


class GrammarError(ValueError):
    """A constraint that cannot be enforced; the message names the feature or the dialect.

    `param` is the request's parameter at fault.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NotEnforceable(GrammarError):
    """Tool calls that cannot be enforced in this model's dialect."""


def is_failure(error: BaseException) -> bool:
    """Say whether a library failed: a failed assertion in llguidance is a BaseException."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
