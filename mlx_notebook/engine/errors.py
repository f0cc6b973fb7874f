"""The errors of the engine, as one tree.

EngineError            has a code of the protocol, a message, and the name of the wrong parameter
├── Cancelled          the client has left
├── InvalidRequest     the request asks for something that is not possible
├── ConstraintFailed   the answer cannot be kept in the requested format
├── InvalidImage       an image cannot be read
├── InvalidAudio       a file of sound cannot be read
├── VisionNotSupported a request has images, and the model takes none
├── AudioNotSupported  a request has sound, and the model does not hear
├── ContextOverflow    the prompt is longer than the model's context
├── LimitExceeded      preparing the request takes too much time or memory
├── LoadFailed         the model's files cannot be loaded
├── InsufficientMemory the model does not fit into the memory budget
└── EvictionRefused    the model fits only in place of others, and the user may not evict them
"""

from mlx_notebook.protocol import ErrorCode, Failed


class EngineError(Exception):
    """An error that ends one request, not the engine.

    Parameters
    ----------
    message
        One or two sentences for the client.
    param
        The name of the wrong parameter, as OpenAI's API reports it.
    """

    code: ErrorCode = "engine_error"

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.message, self.param = message, param

    def event(self, request_id: str) -> Failed:
        """Return the event that reports this error to the server."""
        return Failed(request_id, self.code, self.message, self.param)


class Cancelled(EngineError):
    """The client has left."""


class InvalidRequest(EngineError):
    """The request asks for something that is not possible."""

    code: ErrorCode = "invalid_request"


class ConstraintFailed(EngineError):
    """The answer cannot be kept in the requested format."""

    code: ErrorCode = "constraint_failed"


class InvalidImage(EngineError):
    """An image cannot be read."""

    code: ErrorCode = "invalid_image"


class InvalidAudio(EngineError):
    """A file of sound cannot be read."""

    code: ErrorCode = "invalid_audio"


class VisionNotSupported(EngineError):
    """A request has images, and the model takes none."""

    code: ErrorCode = "vision_not_supported"


class AudioNotSupported(EngineError):
    """A request has sound, and the model does not hear."""

    code: ErrorCode = "audio_not_supported"


class ContextOverflow(EngineError):
    """The prompt is longer than the model's context."""

    code: ErrorCode = "context_length_exceeded"


class LimitExceeded(EngineError):
    """Preparing the request takes too much time or memory."""

    code: ErrorCode = "invalid_request"


class LoadFailed(EngineError):
    """The model's files cannot be loaded."""

    code: ErrorCode = "model_load_failed"


class InsufficientMemory(EngineError):
    """The model does not fit into the memory budget."""

    code: ErrorCode = "insufficient_memory"


class EvictionRefused(EngineError):
    """The model fits only in place of others, and the user may not evict them."""

    code: ErrorCode = "permission_denied"


def reason(error: Exception) -> str:
    """Return the first line of a library's error."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
