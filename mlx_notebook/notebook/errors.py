"""The errors of the notebook side; each is shown as one sentence.

    NotebookError
    ├── NoServer               no server was found and none could be started
    │   └── PrivateServerFailed  the kernel's private server did not start
    ├── ServerUnreachable      the server does not answer
    │   ├── ServerSilent         it accepts connections but does not answer in time
    │   └── ConnectionLost       the connection broke in the middle of an answer
    ├── NotAuthorized          the server refused the token
    ├── RequestRefused         the server refused the request
    │   ├── ModelNotFound        no model has that name, or its download is incomplete
    │   ├── DoesNotFit           the model is too large for this machine's memory or disk
    │   ├── ContextTooLong       the conversation is longer than the model's context
    │   └── NotRecorded          a recording has no answer to the request
    ├── ServerBusy             the queue is full: try again
    ├── DownloadFailed         the model could not be downloaded
    ├── EngineFailed           the engine crashed, could not load the model, or cut an answer off
    ├── JobFailed              a long job such as fine-tuning failed, or was stopped
    ├── BadRecording           a recording cannot be read or written
    ├── UnfilledTemplate       a `{{ expression }}` in a prompt failed
    ├── NotATool               a function cannot be used as a tool
    ├── BadArguments           the arguments of a tool call do not fit the tool
    ├── McpFailed              an MCP server did not start, or one of its tools failed
    ├── NotAPicture            an object cannot be sent as an image
    ├── NotATable              an object has no rows that `map` could read
    ├── NotParsed              an answer does not fit the schema that was asked for
    └── BadMagic               a magic has no such option or subcommand, or its value is wrong

    Interrupted (a KeyboardInterrupt)   the kernel was interrupted; the answer so far is kept
    Pause (an Exception)                raised by a hook, to pause a chat before a tool call

IPython shows each of them as one line without a traceback, because the cause is not in the
notebook's code.
"""

from mlx_notebook.notebook.plain_text import visible

# The `code` of a replayed error response.
NOT_RECORDED = "not_recorded"


class _OneLine:
    """Makes IPython show the message without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def in_one_line(error: BaseException, message: str) -> None:
    """Make IPython show only `message` for an exception of another type."""
    error.args = error.args or (message,)
    vars(error)["_render_traceback_"] = lambda: [f"{type(error).__name__}: {message}"]


class NotebookError(_OneLine, Exception):
    """Base of all errors that `mlx_notebook` raises in a notebook.

    Attributes
    ----------
    code
        Code of the server's error, if the error comes from the server and has one.
    param
        The parameter of the request that the server names, if it names one.
    """

    code: str | None = None
    param: str | None = None


class NoServer(NotebookError):
    """No server was found and none could be started."""


class PrivateServerFailed(NoServer):
    """The private server of this kernel did not start."""


class ServerUnreachable(NotebookError):
    """The server does not answer."""


class ServerSilent(ServerUnreachable):
    """The server accepts connections but does not answer in time: it is busy or it hangs."""


class ConnectionLost(ServerUnreachable):
    """The connection broke in the middle of an answer. What had come is kept: `resume` goes on."""


class NotAuthorized(NotebookError):
    """The server refused the token."""


class RequestRefused(NotebookError):
    """The server refused the request. Sending it again does not help."""


class ModelNotFound(RequestRefused):
    """The server has no model of that name, or its download is incomplete."""


class DoesNotFit(RequestRefused):
    """The model is too large for the memory or the disk of this machine."""


class ContextTooLong(RequestRefused):
    """The conversation has more tokens than the model's context."""


class NotRecorded(RequestRefused):
    """The recording has no answer to the request. The message says what differs."""


class ServerBusy(NotebookError):
    """The server's queue is full. The same request may succeed later."""


class DownloadFailed(NotebookError):
    """The model could not be downloaded. The message says what to do."""


class EngineFailed(NotebookError):
    """The engine crashed, could not load the model, or ended an answer early."""


class JobFailed(NotebookError):
    """A long job such as fine-tuning failed, or somebody stopped it."""


class BadRecording(NotebookError):
    """A recording cannot be read or written."""


class UnfilledTemplate(NotebookError):
    """A `{{ expression }}` in a prompt failed."""


class NotATool(NotebookError):
    """A function cannot be used as a tool, or two tools have the same name."""


class BadArguments(NotebookError):
    """The arguments of a tool call do not fit the tool. The model gets the message."""


class McpFailed(NotebookError):
    """An MCP server did not start or has ended, or one of its tools failed."""


class NotAPicture(NotebookError):
    """An object cannot be sent as an image, or an image is damaged."""


class NotATable(NotebookError):
    """An object has no rows, or an option does not fit its rows."""


class NotParsed(NotebookError):
    """An answer does not fit the schema that was asked for, usually because it was cut off."""


class BadMagic(NotebookError):
    """A magic has no such option or subcommand, or its value is wrong."""


class Interrupted(_OneLine, KeyboardInterrupt):
    """The kernel was interrupted during an answer. The answer so far is kept."""


class Pause(Exception):
    """Raise this in `before_call` or `approve` to pause the chat before a tool call.

    The answer is then `paused`. `Chat.resume` continues with the same call.

    Examples
    --------
    >>> def before_call(call):
    ...     if call.name == "send_email":
    ...         raise Pause("read the email first")
    >>> chat = Chat(tools=[send_email], before_call=before_call)
    """


_DOWNLOAD_CODES = frozenset(
    {
        *("model_gated", "hub_refused", "revision_not_found", "not_a_model", "offline"),
        *("hub_unreachable", "hub_busy", "hub_failed", "download_interrupted"),
        *("download_cancelled", "download_failed", "download_in_progress", "cache_not_writable"),
    }
)


def from_response(status: int, error: object, *, where: str) -> NotebookError:
    """Turn an error response of the server into an exception.

    Parameters
    ----------
    status
        The HTTP status.
    error
        The decoded body `{"error": {"message", "type", "param", "code"}}`, or the inner object, or
        anything else if the response does not come from our routes.
    where
        The server's address, for the messages that the server does not give.

    Returns
    -------
    NotebookError
        The exception to raise.
    """
    inner = error.get("error", error) if isinstance(error, dict) else {}
    if not isinstance(inner, dict):
        inner = {}
    message = str(inner.get("message") or f"The server at {where} answered with HTTP {status}.")
    code, param = inner.get("code"), inner.get("param")
    raised = _exception(status, inner, visible(message, keep="\n"), where)
    raised.code = code if isinstance(code, str) else None
    raised.param = param if isinstance(param, str) else None
    return raised


def _exception(status: int, inner: dict[str, object], message: str, where: str) -> NotebookError:
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
