"""OpenAI clients for the server of this kernel.

`openai` is imported when it is first needed, because that takes more than half a second.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook.connection.connection import connect
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
    except openai.APITimeoutError:
        raise ServerUnreachable(f"The server at {server.url} did not answer in time.") from None
    except openai.APIConnectionError:
        raise ServerUnreachable(
            f"The connection to {server.url} was lost: the server may have stopped. "
            "Run the cell again to reconnect."
        ) from None
    except openai.APIError as error:
        # An `error` event in a stream.
        raise EngineFailed(error.message) from None
    except json.JSONDecodeError as error:
        raise EngineFailed(f"The server at {server.url} sent invalid JSON: {error}.") from None
