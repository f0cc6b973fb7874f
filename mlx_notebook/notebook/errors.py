"""Everything that can go wrong in the kernel, each told to the user in one sentence.

    NotebookError
    ├── NoServer               no server was found and none could be started
    │   └── PrivateServerFailed  the one we started did not come up
    ├── ServerUnreachable      a server that was there does not answer
    │   └── ServerSilent         it is there, and says nothing for too long
    ├── NotAuthorized          the server refused the token
    ├── RequestRefused         the server refused the request as it stands
    │   ├── ModelNotFound        no model has that name, or only a part of it is here
    │   ├── DoesNotFit           the model is too large for this machine's memory or disk
    │   ├── ContextTooLong       the conversation does not fit the model
    │   └── NotRecorded          a replayed run holds no answer to it
    ├── ServerBusy             the queue is full: try again
    ├── DownloadFailed         the model could not be downloaded
    ├── EngineFailed           the engine died, could not load the model, or broke off
    ├── BadRecording           the file of a recorded run cannot be read or written
    ├── UnfilledTemplate       a `{{ expression }}` in the prompt failed
    ├── NotATool               a function cannot be described to a model
    ├── BadArguments           what a model wants to call a tool with does not fit it
    ├── McpFailed              an MCP server that does not start, or a tool of one that failed
    ├── NotAPicture            an object that cannot be sent as an image
    ├── NotParsed              a reply does not fit the schema that was asked for
    └── BadMagic               an option or subcommand that does not exist or has a bad value

    Interrupted (a KeyboardInterrupt)   the kernel was interrupted; what had arrived is kept
    Pause (an Exception)                raised by a hook, to stop a chat before a call of a tool

IPython shows each as one line: the failure lies outside the notebook's code, so a traceback
through ours would only hide the sentence.
"""

from mlx_notebook.notebook.plain_text import visible

# The `code` of the error object that a replay answers with.
NOT_RECORDED = "not_recorded"


class _OneLine:
    """Tells IPython to show the message alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def in_one_line(error: BaseException, message: str) -> None:
    """Have IPython show `message` alone of an exception whose type must stay as it is."""
    error.args = error.args or (message,)
    vars(error)["_render_traceback_"] = lambda: [f"{type(error).__name__}: {message}"]


class NotebookError(_OneLine, Exception):
    """Anything that `mlx_notebook` reports in a notebook."""


class NoServer(NotebookError):
    """No server was found and none could be started."""


class PrivateServerFailed(NoServer):
    """The server that belongs to this kernel did not come up."""


class ServerUnreachable(NotebookError):
    """A server that should be there does not answer."""


class ServerSilent(ServerUnreachable):
    """A server takes connections and says nothing in time: it is busy, or it hangs."""


class NotAuthorized(NotebookError):
    """The server refused the token."""


class RequestRefused(NotebookError):
    """The server refused the request; sending it again as it is will not help."""


class ModelNotFound(RequestRefused):
    """The server has no model of that name, or only a part of one."""


class DoesNotFit(RequestRefused):
    """The model is too large for this machine's memory, or for its disk."""


class ContextTooLong(RequestRefused):
    """The conversation has more tokens than the model can read."""


class NotRecorded(RequestRefused):
    """A replayed run holds no answer to the request; the message says what differs."""


class ServerBusy(NotebookError):
    """The server's queue is full; the same request may succeed later."""


class DownloadFailed(NotebookError):
    """The model could not be downloaded; the message says what to do."""


class EngineFailed(NotebookError):
    """The engine died, could not load the model, or broke an answer off."""


class BadRecording(NotebookError):
    """The file of a recorded run cannot be read, or cannot be written."""


class UnfilledTemplate(NotebookError):
    """A `{{ expression }}` in a prompt could not be evaluated."""


class NotATool(NotebookError):
    """A function that cannot be described to a model, or two tools of one name."""


class BadArguments(NotebookError):
    """Arguments that do not fit the tool they are for; the model is told, and may mend them."""


class McpFailed(NotebookError):
    """An MCP server does not start or is gone, or one of its tools failed."""


class NotAPicture(NotebookError):
    """An object that cannot be sent as an image, or a damaged image."""


class NotParsed(NotebookError):
    """A reply that does not fit the schema that was asked for, most likely since it was cut off."""


class BadMagic(NotebookError):
    """A magic was called with an option or subcommand that it does not have."""


class Interrupted(_OneLine, KeyboardInterrupt):
    """The kernel was interrupted while an answer came in; the part that came is kept."""


class Pause(Exception):
    """Raised by a `before_call` or `approve` to stop the chat before that call.

    The answer is then `paused`, and `Chat.resume` goes on with the same call.
    """


_DOWNLOAD_CODES = frozenset(
    {
        *("model_gated", "hub_refused", "revision_not_found", "not_a_model", "offline"),
        *("hub_unreachable", "hub_busy", "hub_failed", "download_interrupted"),
        *("download_cancelled", "download_failed", "download_in_progress", "cache_not_writable"),
    }
)


def from_response(status: int, error: object, *, where: str) -> NotebookError:
    """Turn an error answer of the server into one of ours.

    `error` is the decoded `{"error": {"message", "type", "param", "code"}}` body, or the inner
    object, or anything else where the answer did not come from our routes; `where` is the
    server's address, for sentences of our own.
    """
    inner = error.get("error", error) if isinstance(error, dict) else {}
    if not isinstance(inner, dict):
        inner = {}
    message = str(inner.get("message") or f"The server at {where} answered with HTTP {status}.")
    message = visible(message, keep="\n")
    code = inner.get("code")
    if code in _DOWNLOAD_CODES:
        return DownloadFailed(message)
    if status in (401, 403):
        if not inner.get("message") or "_xsrf" in message:
            message = f"The server at {where} refused the token."
        return NotAuthorized(message)
    if code in ("model_not_found", "model_incomplete"):
        return ModelNotFound(message)
    if code in ("insufficient_memory", "disk_full"):
        return DoesNotFit(message)
    if code == NOT_RECORDED:
        return NotRecorded(message)
    if code == "context_length_exceeded":
        return ContextTooLong(f"{message} `%mlx reset` starts a new conversation.")
    if status == 429:
        return ServerBusy(message)
    if status >= 500:
        return EngineFailed(message)
    return RequestRefused(message)
