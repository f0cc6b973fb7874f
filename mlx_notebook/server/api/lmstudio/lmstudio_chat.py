"""Handle LM Studio's `POST api/v1/chat`: a response of `v1/responses` in its format.

So both have the same store, and the same MCP servers.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook import protocol
from mlx_notebook.protocol import Generate
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.event_stream import comment
from mlx_notebook.server.api.lmstudio.lmstudio_handler import LmStudioHandler
from mlx_notebook.server.api.native.catalog_list import load_progress
from mlx_notebook.server.api.responses.responses import ResponsesHandler
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.errors import ApiError, Forbidden, InvalidRequest, Unavailable
from mlx_notebook.server.identity import owner
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.responses.mcp_run import McpRun
from mlx_notebook.server.responses.mcp_writer import McpWriter
from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_store import Item
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_answer import LmStudioProvider
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_request import (
    CHAT_DECODER,
    LmStudioChatRequest,
    named_as_here,
)
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_writer import LmStudioChatWriter
from mlx_notebook.server.wire.responses import response_events
from mlx_notebook.server.wire.responses.responses_request import ResponsesRequest


class ObservedWriter(McpWriter):
    """Write a response, and show each event of the engine to an observer first."""

    observe: Callable[[object], None]

    def handle(self, event: protocol.Event | KeepAlive) -> list[response_events.ResponseEvent]:
        """Handle an event of the engine. Return the stream events for it."""
        self.observe(event)
        return super().handle(event)


class LmStudioChatHandler(LmStudioHandler, ResponsesHandler):
    """Answer messages."""

    endpoint = "api/v1/chat"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with the model's output, or with a stream of events."""
        asked = self.decoded(CHAT_DECODER)
        user = await owner(self)
        if asked.integrations and self.is_without_token:
            raise Forbidden(
                "MCP servers are used only with the token. Send it, or leave 'integrations' out.",
                param="integrations",
            )
        try:
            request = asked.for_response()
            await self._check_reasoning(asked)
            self._providers = _providers(request)
            async with AsyncExitStack() as claims:
                await self._respond(user, request, claims)
        except ApiError as error:
            raise named_as_here(error) from None

    def writer_class(self, mcp: McpRun | None) -> type[ResponseWriter]:
        """Return what writes a response with these MCP servers."""
        return ObservedWriter

    async def for_client(self, run: ResponseRun, command: Generate, streamed: bool) -> None:
        """Run a response, and answer with it in LM Studio's format.

        Raises
        ------
        ApiError
            If an MCP server does not answer, or the response fails.
        """
        for label, why in (run.mcp.failures if run.mcp is not None else {}).items():
            raise Unavailable(
                f"The MCP server {label!r} gives no tools: {why}",
                param="integrations",
                code="mcp_not_reached",
            )
        entry = await self.services.catalog.find(command.model)
        writer = LmStudioChatWriter(
            command.model, self._providers, lambda: self._loaded_share(entry)
        )
        assert isinstance(run.writer, ObservedWriter)
        run.writer.observe = writer.see
        if run.mcp is None:
            run.writer.begin_round()
        await self._answer(run, command, writer, streamed=streamed)

    async def items_before(self, owner: str, request: ResponsesRequest) -> tuple[list[Item], str]:
        """Return the items that this response continues.

        A new system prompt takes the place of earlier ones.
        """
        items, origin = await super().items_before(owner, request)
        assert isinstance(request.input, list)
        if request.input[0]["role"] == "system":
            items = [item for item in items if item.get("role") not in ("system", "developer")]
        return items, origin

    async def _check_reasoning(self, asked: LmStudioChatRequest) -> None:
        """Check that a model reasons, if its request asks for that.

        Raises
        ------
        InvalidRequest
            If it does not.
        """
        if asked.reasoning in (None, "off"):
            return
        entry = await self.services.catalog.find(
            asked.model, await self.settings_user(), use="text"
        )
        if entry.upstream is None and "reasoning" not in entry.capabilities(None):
            raise InvalidRequest(
                f"The model {entry.name!r} does not reason: leave 'reasoning' out, or set it to "
                "'off'.",
                param="reasoning",
                code="invalid_value",
            )

    def _loaded_share(self, entry: CatalogEntry) -> float:
        at = load_progress(self.services, entry)
        return min(1.0, at.done / at.total) if at.total else 0.0

    async def _answer(
        self, run: ResponseRun, command: Generate, writer: LmStudioChatWriter, *, streamed: bool
    ) -> None:
        responses = self.services.responses

        async def failure(error: ApiError) -> bytes:
            await responses.save_last(run, run.writer.fail(error))
            last = writer.failed(named_as_here(error), run.response)
            return b"".join([event.encoded() for event in last])

        async with aclosing(responses.rounds(run, command, self.running)) as batches:
            if not streamed:
                async for _ in batches:
                    pass
                self.answer(writer.answer(run.response))
                return
            async with self.event_stream(failure):
                async for said in batches:
                    comments = [comment(each.text) for each in said if isinstance(each, KeepAlive)]
                    events = [event.encoded() for event in writer.events(said)]
                    if data := b"".join([*comments, *events]):
                        await self.send(data)


def _providers(request: ResponsesRequest) -> dict[str, LmStudioProvider]:
    """Return where the tools of each MCP server come from, by the server's label."""
    providers = {}
    for tool in request.tools or ():
        label = str(tool["server_label"])
        providers[label] = (
            LmStudioProvider("ephemeral_mcp", server_label=label)
            if "server_url" in tool
            else LmStudioProvider("plugin", plugin_id=f"mcp/{label}")
        )
    return providers
