"""The official OpenAI clients, set up for the server of this kernel.

`openai` is imported when first needed: it takes more than half a second.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlx_notebook.notebook.connection.connection import connect
from mlx_notebook.notebook.errors import EngineFailed, ServerUnreachable, from_response
from mlx_notebook.notebook.server.server import Server

if TYPE_CHECKING:
    import openai


def client(**options: Any) -> "openai.OpenAI":
    """Make an `openai.OpenAI` for the server of this kernel; `options` go to its constructor.

    Raises `NotebookError` where there is no server.
    """
    return client_of(connect(), **options)


def async_client(**options: Any) -> "openai.AsyncOpenAI":
    """Make an `openai.AsyncOpenAI` for the server of this kernel; `options` as for `client`.

    Raises `NotebookError` where there is no server.
    """
    return async_client_of(connect(), **options)


def client_of(server: Server, **options: Any) -> "openai.OpenAI":
    """Make an `openai.OpenAI` for a server that was found before."""
    import openai

    from mlx_notebook.notebook.recording.httpx_clients import RecordingClient

    return openai.OpenAI(**_options(server, RecordingClient, options))


def async_client_of(server: Server, **options: Any) -> "openai.AsyncOpenAI":
    """Make an `openai.AsyncOpenAI` for a server that was found before."""
    import openai

    from mlx_notebook.notebook.recording.httpx_clients import AsyncRecordingClient

    return openai.AsyncOpenAI(**_options(server, AsyncRecordingClient, options))


def _options(server: Server, http_client: Any, options: dict[str, Any]) -> dict[str, Any]:
    options = {"base_url": server.api, "api_key": server.token, **options}
    if "http_client" not in options:
        # No proxy for loopback; and loading the system's certificates, which plain HTTP has no
        # use for, would cost 30 ms a client.
        secure = server.url.startswith("https:")
        plain = {"trust_env": False, "verify": secure} if server.is_loopback else {}
        options["http_client"] = http_client(server, **plain)
    return options


@contextmanager
def told(server: Server) -> Iterator[None]:
    """Turn what the OpenAI client raises into one sentence (`NotebookError`)."""
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
        # An `error` event in a stream that had begun.
        raise EngineFailed(error.message) from None
    except json.JSONDecodeError as error:
        raise EngineFailed(f"The server at {server.url} sent no valid JSON: {error}.") from None
