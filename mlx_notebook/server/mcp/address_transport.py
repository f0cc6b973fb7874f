"""Speak MCP with an address (streamable HTTP), with a limit on the size of an answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mlx_notebook.server.mcp.program_transport import LONGEST_MESSAGE


@asynccontextmanager
async def address(
    url: str, headers: dict[str, str], seconds: float
) -> AsyncIterator[tuple[Any, Any]]:
    """Connect to an address for the block, and yield the streams of messages from it and to it.

    Redirects to other hosts are not followed, and the proxy of the environment is not used.
    """
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    class Limited(httpx2.AsyncByteStream):
        """The body of an answer, which ends with an error if it is too large."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            received = 0
            async for chunk in self._stream:
                received += len(chunk)
                if received > LONGEST_MESSAGE:
                    raise httpx2.ReadError(f"The answer has more than {LONGEST_MESSAGE:,} bytes.")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Transport(httpx2.AsyncHTTPTransport):
        """A transport with limited answers."""

        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            response.stream = Limited(response.stream)
            return response

    async with (
        httpx2.AsyncClient(
            # Compressed answers could be larger than what arrives.
            headers={**headers, "Accept-Encoding": "identity"},
            timeout=httpx2.Timeout(seconds),
            trust_env=False,
            transport=Transport(),
        ) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=LONGEST_MESSAGE) as pair,
    ):
        yield pair
