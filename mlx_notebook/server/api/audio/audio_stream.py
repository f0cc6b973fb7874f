"""Send a request with sound to the engine, and count its tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mlx_notebook.protocol import Speak, Transcribe
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.user_rules import begin_request
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.identity import owner
from mlx_notebook.server.telemetry.request_traces import RequestOrigin


@asynccontextmanager
async def audio_stream(
    handler: ApiHandler, command: Transcribe | Speak
) -> AsyncIterator[RequestStream]:
    """Send a handler's command to the engine, and yield the stream of its events.

    The response names the request. After the block its tokens count for the user.
    """
    handler.set_header("x-request-id", command.id)
    origin = RequestOrigin(
        await owner(handler),
        handler.endpoint,
        handler.ignored,
        trace_context=handler.report.context,
    )
    async with handler.services.engine.run_audio(command, origin) as stream:
        try:
            yield stream
        finally:
            begin_request(handler).take_tokens(stream.tokens)
