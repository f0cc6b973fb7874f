"""Read what requests for responses ask: their items, those that they continue, their tools."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.api.generation import GenerationHandler
from mlx_notebook.server.api.http.event_stream import comment
from mlx_notebook.server.api.user_rules import begin_request
from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.responses.mcp_run import McpRun
from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_store import PREFIX, Item, previous_not_found
from mlx_notebook.server.wire.conversation import (
    notices_on_order,
    with_one_system_message,
    with_ordered_tool_results,
)
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.responses.conversation_object import ConversationReference
from mlx_notebook.server.wire.responses.item_messages import ItemMessageBuilder
from mlx_notebook.server.wire.responses.mcp_items import ApprovalRequestItem, mcp_tools
from mlx_notebook.server.wire.responses.response_items import (
    ItemReference,
    item_not_found,
    listed_item,
    typed_item,
    unknown_in_parts,
    with_file_data,
)
from mlx_notebook.server.wire.responses.response_tools import OfferedTools
from mlx_notebook.server.wire.responses.responses_request import ResponsesRequest

NAMES = {"messages": "input", "response_format": "text.format"}
"""Names of this endpoint for parameters that the engine's errors name."""


class ReadInput(NamedTuple):
    """What a request asks the model: the prompt, and the items that it is made from.

    `items` are the request's own, in the form that is stored, and `before` those that it continues.
    `approved` are the calls of MCP tools that the request approves, by the ids of their requests.
    """

    prompt: ChatPrompt
    before: list[Item]
    items: list[Item]
    approved: dict[str, ApprovalRequestItem]


class ResponsesBase(GenerationHandler):
    """Base of the routes that read a request for a response."""

    # Whether a request without any items is refused.
    needs_input: bool = True

    async def read_input(
        self, owner: str, request: ResponsesRequest, tools: OfferedTools
    ) -> ReadInput:
        """Return the prompt of a request, and its items.

        Raises
        ------
        ApiError
            If the input is invalid, or refers to something that does not exist.
        """
        request.check()
        begin_request(self)
        if tools.left_out or tools.ignored:
            self.report_ignored(*tools.left_out, *tools.ignored)
        previous, origin = await self.items_before(owner, request)
        items = await self._input_items(owner, request)
        if not previous and not items and self.needs_input:
            raise InvalidRequest(
                "The request needs 'input'.", param="input", code="missing_parameter"
            )
        self.services.limits.check_message_count(len(previous) + len(items))
        conversation = ItemMessageBuilder(request.instructions)
        for item in previous:
            conversation.add(typed_item(item, origin), origin)
        # What was approved before was for an earlier response.
        conversation.approved.clear()
        for index, item in enumerate(items):
            path = f"input[{index}]"
            typed = typed_item(item, path)
            self.report_ignored(*unknown_in_parts(item, typed, path))
            conversation.add(typed, path)
        self.report_notices(notices_on_order(one["role"] for one in conversation.messages))
        prompt = ChatPrompt(
            messages=with_one_system_message(with_ordered_tool_results(conversation.messages)),
            tools=[function.for_template() for function in tools.functions],
            template_kwargs=request.template_kwargs(),
        )
        prompt = request.with_continuation(prompt)
        entry = await self.services.catalog.find(
            request.model, await self.settings_user(), use="text"
        )
        prompt = await self.with_images(entry, prompt)
        if prompt.images or self.files:
            documents = {file.field: file.data for file in self.files}
            items = await asyncio.to_thread(with_file_data, items, prompt.images, documents)
        listed = [listed_item(item, new_id) for item in items]
        return ReadInput(prompt, previous, listed, conversation.approved)

    @asynccontextmanager
    async def mcp_servers(self, request: ResponsesRequest) -> AsyncIterator[McpRun | None]:
        """Take connections to the MCP servers of a request for the block, if it has some.

        `McpRun.open` opens them.

        Raises
        ------
        ApiError
            If it may not use one of them.
        """
        asked = mcp_tools(request.tools or [])
        if not asked:
            yield None
            return
        request.check()
        begin_request(self)
        services = self.services
        user = services.rates.limits.of(self.user)
        targets = [
            services.mcp.target(tool.server_label, tool.server_url, tool.all_headers, user, path)
            for path, tool in asked
        ]
        labels = [tool.server_label for _, tool in asked]
        if len(set(labels)) < len(labels):
            raise InvalidRequest("Two MCP servers have the same 'server_label'.", param="tools")
        sessions = services.mcp_sessions.reserve(targets)
        try:
            tools = [tool for _, tool in asked]
            limits, alive = services.mcp.limits, services.limits.keep_alive_seconds
            run = McpRun(tools, sessions, limits, request.max_tool_calls, alive)
            run.reported = self.report.call
            yield run
        finally:
            await services.mcp_sessions.release(sessions)

    async def items_before(self, owner: str, request: ResponsesRequest) -> tuple[list[Item], str]:
        """Return the items that this response continues, and the parameter that names them."""
        if (conversation := request.conversation_id) is not None:
            conversations = self.services.responses.conversations
            try:
                return await conversations.items(owner, conversation), "conversation"
            except NotFound as error:
                error.param = "conversation"
                raise
        if (previous := request.previous_response_id) is not None:
            return await self.previous_items(owner, previous), "previous_response_id"
        return [], ""

    async def previous_items(self, owner: str, previous: str) -> list[Item]:
        """Return the items of a response and of those before it.

        Raises
        ------
        ApiError
            If the user has no such response, or it cannot be continued.
        """
        run = self.services.responses.find(owner, previous)
        if run is not None and not run.writer.ended:
            raise InvalidRequest(
                f"The response {previous!r} is not finished. Wait for it.",
                param="previous_response_id",
                code="previous_response_not_finished",
            )
        if run is not None:
            await run.settled()
        if not (self.services.responses.store.enabled and previous.startswith(PREFIX)):
            raise previous_not_found(previous)
        store = self.services.responses.store
        if (body := await store.get(owner, previous)) is not None:
            conversation = msgspec.json.decode(body, type=_InConversation).conversation
            if conversation is not None:
                raise InvalidRequest(
                    f"The response {previous!r} belongs to the conversation {conversation.id!r}, "
                    "which has the items before it. Send 'conversation' instead.",
                    param="previous_response_id",
                    code="response_in_conversation",
                )
        return await store.conversation(owner, previous)

    async def _input_items(self, owner: str, request: ResponsesRequest) -> list[Item]:
        """Return the request's own items, with references replaced by the items that they name."""
        if request.input is None:
            return []
        if isinstance(request.input, str):
            return [{"type": "message", "role": "user", "content": request.input}]
        return await self.known_items(owner, request.input, "input")

    async def known_items(self, owner: str, items: list[Item], path: str) -> list[Item]:
        """Return the items of a request, with references replaced by the items that they name.

        Raises
        ------
        InvalidRequest
            If an item is invalid, or refers to something that does not exist.
        """
        references = {}
        for index, item in enumerate(items):
            checked = typed_item(item, f"{path}[{index}]")
            if isinstance(checked, ItemReference):
                references[index] = checked.id
        if not references:
            return items
        store = self.services.responses.store
        ids = list(references.values())
        found = await store.find_items(owner, ids) if store.enabled else {}
        for index, id in references.items():
            if id not in found:
                raise item_not_found(id, f"{path}[{index}]")
        return [
            found[references[index]] if index in references else item
            for index, item in enumerate(items)
        ]

    async def follow(self, run: ResponseRun, after: int) -> None:
        """Stream the events of a background response after the event `after`."""
        seconds = self.services.limits.keep_alive_seconds
        async with self.event_stream():
            async for data in run.follow(after, seconds):
                await self.send(data or comment("keep-alive"))


def tools_with(request: ResponsesRequest, mcp: McpRun | None) -> OfferedTools:
    """Return the tools of a request, with those that its MCP servers have listed.

    Raises
    ------
    InvalidRequest
        If one is not valid.
    """
    if mcp is None:
        return request.offered_tools()
    tools = request.offered_tools(mcp.offered())
    return msgspec.structs.replace(tools, unavailable=mcp.failures)


class _InConversation(msgspec.Struct):
    conversation: ConversationReference | None = None
