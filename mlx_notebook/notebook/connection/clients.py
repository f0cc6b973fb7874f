"""OpenAI clients for the server of this kernel.

`openai` is imported when it is first needed, because that takes more than half a second.
"""

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook.connection.connection import connect, silent_seconds
from mlx_notebook.notebook.errors import EngineFailed, ServerUnreachable, from_response
from mlx_notebook.notebook.server import transport
from mlx_notebook.notebook.server.server import Server

if TYPE_CHECKING:
    import openai


def client(**options: Any) -> "openai.OpenAI":
    """Return an `openai.OpenAI` client for the server of this kernel.

    Parameters
    ----------
    options
        Arguments of `openai.OpenAI`, such as `timeout`.

    Returns
    -------
    openai.OpenAI
        The client.

    Raises
    ------
    NotebookError
        If there is no server.

    Examples
    --------
    >>> client = mlx_notebook.client()
    >>> messages = [{"role": "user", "content": "Hello"}]
    >>> completion = client.chat.completions.create(model="tiny-chat", messages=messages)
    """
    return client_of(connect(), **options)


def async_client(**options: Any) -> "openai.AsyncOpenAI":
    """Return an `openai.AsyncOpenAI` client for the server of this kernel.

    Parameters
    ----------
    options
        Arguments of `openai.AsyncOpenAI`, such as `timeout`.

    Returns
    -------
    openai.AsyncOpenAI
        The client.

    Raises
    ------
    NotebookError
        If there is no server.

    Examples
    --------
    >>> client = mlx_notebook.async_client()
    >>> response = await client.responses.create(model="tiny-chat", input="Hello")
    """
    return async_client_of(connect(), **options)


def client_of(server: Server, **options: Any) -> "openai.OpenAI":
    """Return an `openai.OpenAI` client for a server."""
    import openai

    from mlx_notebook.notebook.recording.httpx_clients import RecordingClient

    return openai.OpenAI(**_options(server, RecordingClient, options))


def async_client_of(server: Server, **options: Any) -> "openai.AsyncOpenAI":
    """Return an `openai.AsyncOpenAI` client for a server."""
    import openai

    from mlx_notebook.notebook.recording.httpx_clients import AsyncRecordingClient

    return openai.AsyncOpenAI(**_options(server, AsyncRecordingClient, options, is_async=True))


def stream_client_of(server: Server) -> "openai.OpenAI":
    """Return a client for one streamed answer, which gives up when the stream is silent."""
    import openai

    from mlx_notebook.notebook.recording.httpx_clients import RecordingClient

    return openai.OpenAI(**_stream_options(server, RecordingClient))


def async_stream_client_of(server: Server) -> "openai.AsyncOpenAI":
    """Return an asynchronous client for one streamed answer: see `stream_client_of`."""
    import openai

    from mlx_notebook.notebook.recording.httpx_clients import AsyncRecordingClient

    return openai.AsyncOpenAI(**_stream_options(server, AsyncRecordingClient, is_async=True))


def _stream_options(server: Server, http_client: Any, *, is_async: bool = False) -> dict[str, Any]:
    import httpx2

    silent = silent_seconds()
    limits = httpx2.Timeout(silent, connect=transport.CONNECT_SECONDS)
    once = functools.partial(http_client, sends_again=False)
    return _options(server, once, {"timeout": limits}, is_async=is_async)


def _options(
    server: Server, http_client: Any, options: dict[str, Any], *, is_async: bool = False
) -> dict[str, Any]:
    options = {"base_url": server.api, "api_key": server.token, **options}
    if "http_client" not in options:
        made = transport.client_options(
            server.url, is_loopback=server.is_loopback, is_async=is_async
        )
        options["http_client"] = http_client(server, **made)
    return options


@contextmanager
def translated_errors(server: Server) -> Iterator[None]:
    """Turn the exceptions of an OpenAI client into `NotebookError`, with one sentence each."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise from_response(error.status_code, error.body, where=server.url) from None
    except openai.APIConnectionError as error:
        raise ServerUnreachable(_connection_problem(server.url, error)) from None
    except openai.APIError as error:
        # An `error` event in a stream.
        raise EngineFailed(error.message) from None
    except json.JSONDecodeError as error:
        raise EngineFailed(f"The server at {server.url} sent invalid JSON: {error}.") from None


def _connection_problem(url: str, error: "openai.APIConnectionError") -> str:
    import httpx2
    import openai

    cause = error.__cause__
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        why = f" ({cause})" if str(cause) else ""
        return f"No server answers at {url}{why}. Run the cell again when it does."
    if isinstance(error, openai.APITimeoutError):
        return (
            f"The server at {url} did not answer in time: it or the network may have stopped. "
            "Run the cell again to reconnect."
        )
    return (
        f"The connection to {url} was lost: the server may have stopped. "
        "Run the cell again to reconnect."
    )
