"""What goes wrong in the engine, as one tree.

EngineError            carries a code of the protocol, a sentence, and the parameter at fault
├── Cancelled          nobody waits for the answer any more
├── InvalidRequest     the request asks for something that cannot be
├── ConstraintFailed   the answer could not be kept in the format that was asked for
├── InvalidImage       an image cannot be read
├── VisionNotSupported an image is shown to a model that takes none
├── ContextOverflow    the prompt does not fit the model's context
├── LimitExceeded      preparing the request takes too much time or memory
├── LoadFailed         the model's files cannot be loaded
└── InsufficientMemory the model does not fit into the memory for models
"""

from mlx_notebook.protocol import ErrorCode, Failed


class EngineError(Exception):
    """A failure that ends one request, not the engine."""

    code: ErrorCode = "engine_error"

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.message, self.param = message, param

    def event(self, request_id: str) -> Failed:
        """The event that tells the server."""
        return Failed(request_id, self.code, self.message, self.param)


class Cancelled(EngineError):
    """Nobody waits for the answer any more."""


class InvalidRequest(EngineError):
    """The request asks for something that cannot be."""

    code: ErrorCode = "invalid_request"


class ConstraintFailed(EngineError):
    """The answer could not be kept in the format that was asked for."""

    code: ErrorCode = "constraint_failed"


class InvalidImage(EngineError):
    """An image cannot be read."""

    code: ErrorCode = "invalid_image"


class VisionNotSupported(EngineError):
    """An image is shown to a model that takes none."""

    code: ErrorCode = "vision_not_supported"


class ContextOverflow(EngineError):
    """The prompt does not fit the model's context."""

    code: ErrorCode = "context_length_exceeded"


class LimitExceeded(EngineError):
    """Preparing the request takes too much time or memory."""

    code: ErrorCode = "invalid_request"


class LoadFailed(EngineError):
    """The model's files cannot be loaded."""

    code: ErrorCode = "model_load_failed"


class InsufficientMemory(EngineError):
    """The model does not fit into the memory that models may take."""

    code: ErrorCode = "insufficient_memory"


def reason(error: Exception) -> str:
    """An error of a library in one line."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
