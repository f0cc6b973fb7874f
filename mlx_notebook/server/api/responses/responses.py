"""Handle `POST v1/responses`, also streamed or in the background, and its token count."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import NamedTuple

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.model_files.generation_config import effective_sampling
from mlx_notebook.protocol import ChatPrompt, Generate
from mlx_notebook.server.api.generation import GenerationHandler, local_options
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.event_stream import comment
from mlx_notebook.server.api.responses.truncation import truncate
from mlx_notebook.server.api.user_rules import begin_request
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.identity import owner
from mlx_notebook.server.responses.mcp_run import McpRun
from mlx_notebook.server.responses.mcp_writer import McpWriter
from mlx_notebook.server.responses.response_runs import ResponseRun
from mlx_notebook.server.responses.response_store import PREFIX, Item, previous_not_found
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.wire.conversation import with_one_system_message, with_ordered_tool_results
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.responses.conversation_object import ConversationReference
from mlx_notebook.server.wire.responses.item_messages import ItemMessageBuilder
from mlx_notebook.server.wire.responses.mcp_items import ApprovalRequestItem, mcp_tools
from mlx_notebook.server.wire.responses.response_events import encode_event
from mlx_notebook.server.wire.responses.response_items import (
    ItemReference,
    item_not_found,
    listed_item,
    typed_item,
    with_file_data,
)
from mlx_notebook.server.wire.responses.response_object import InputTokens, Response
from mlx_notebook.server.wire.responses.response_tools import OfferedTools
from mlx_notebook.server.wire.responses.responses_request import DECODER, ResponsesRequest

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
        if tools.left_out:
            self.report_ignored(*tools.left_out)
        previous, origin = await self._items_before(owner, request)
        items = await self._input_items(owner, request)
        if not previous and not items:
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
            conversation.add(typed_item(item, path), path)
        prompt = ChatPrompt(
            messages=with_one_system_message(with_ordered_tool_results(conversation.messages)),
            tools=[function.for_template() for function in tools.functions],
            template_kwargs=request.template_kwargs(),
        )
        prompt = request.with_continuation(prompt)
        entry = await self.services.catalog.find(request.model, await self.settings_user())
        prompt = await self.with_images(entry, prompt)
        if prompt.images or self.files:
            documents = {file.field: file.data for file in self.files}
            items = await asyncio.to_thread(with_file_data, items, prompt.images, documents)
        listed = [listed_item(item, new_id) for item in items]
        return ReadInput(prompt, previous, listed, conversation.approved)

    @asynccontextmanager
    async def mcp_servers(self, request: ResponsesRequest) -> AsyncIterator[McpRun | None]:
        """Connect to the MCP servers of a request for the block, if it has some.

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
            run = McpRun(tools, sessions, services.mcp.limits, request.max_tool_calls)
            run.reported = self.report.call
            await run.open()
            yield run
        finally:
            await services.mcp_sessions.release(sessions)

    async def _items_before(self, owner: str, request: ResponsesRequest) -> tuple[list[Item], str]:
        """Return the items that this response continues, and the parameter that names them."""
        if (conversation := request.conversation_id) is not None:
            conversations = self.services.responses.conversations
            return await conversations.items(owner, conversation), "conversation"
        if (previous := request.previous_response_id) is not None:
            return await self._previous_items(owner, previous), "previous_response_id"
        return [], ""

    async def _previous_items(self, owner: str, previous: str) -> list[Item]:
        """Return the items of a response and of those before it."""
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
        async with self.event_stream():
            async for data in run.follow(after):
                await self.send(data)


class ResponsesHandler(ResponsesBase):
    """Create responses."""

    endpoint = "v1/responses"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with a response, or with a stream of its events."""
        request = self.decoded(DECODER)
        user = await owner(self)
        claims = AsyncExitStack()
        try:
            async with claims:
                conversation = request.conversation_id
                claims.enter_context(self.services.responses.claimed(user, conversation))
                await self._respond(user, request, claims)
        except ApiError as error:
            error.param = NAMES.get(error.param or "", error.param)
            raise

    async def _respond(self, user: str, request: ResponsesRequest, claims: AsyncExitStack) -> None:
        mcp = await claims.enter_async_context(self.mcp_servers(request))
        tools = request.offered_tools(mcp.offered() if mcp else ())
        prompt, before, items, approved = await self.read_input(user, request, tools)
        if mcp is not None:
            mcp.note_known([*before, *items])
            mcp.approved = approved
        if request.truncation == "auto":
            prompt = await truncate(self, request.model, prompt, request.max_output_tokens)
        command = await self.command(
            new_id(PREFIX),
            request.model,
            prompt,
            request.sampling(),
            tool_choice=request.choice(tools),
            output_format=request.output_format(),
            reasoning_budget=request.thinking_budget,
            **local_options(request),
        )
        store = await self._stores(request)
        model = request.model or command.model
        entry = await self.services.catalog.find(command.model)
        chosen = effective_sampling(command.sampling, entry.facts.sampling_defaults)
        if request.reasoning is not None and "reasoning_effort" in self.passed_on:
            request.reasoning.effort = self.passed_on["reasoning_effort"]
        response = Response.to(request, command.id, model, now(), chosen=chosen, store=store)
        sealed = "reasoning.encrypted_content" in (request.include or ())
        writer = (ResponseWriter if mcp is None else McpWriter)(
            response,
            as_summary=request.wants_summary,
            sealed=sealed,
            alternatives=request.prompt_logprobs or 0,
            namespaces=tools.namespaces,
        )
        run = ResponseRun(user, writer, items, self.ignored, self.notices)
        run.trace_context = self.report.context
        if mcp is not None:
            run.mcp = mcp
        if isinstance(writer, McpWriter) and mcp is not None:
            writer.functions = mcp.functions
            writer.begin_round()
        if request.background:
            run.claims = claims.pop_all()
            await self._in_background(run, command, bool(request.stream))
        else:
            with self.services.responses.registered(run):
                await self._for_client(run, command, bool(request.stream))

    async def _stores(self, request: ResponsesRequest) -> bool:
        """Return whether the response will be stored.

        Raises
        ------
        ApiError
            If the request demands that, and nothing can be stored.
        """
        store = self.services.responses.store
        required = bool(request.store or request.background)
        if request.store is False:
            return False
        try:
            await store.require()
        except ApiError:
            if required:
                raise
            return False
        return True

    async def _for_client(self, run: ResponseRun, command: Generate, streamed: bool) -> None:
        if streamed:
            await self._stream(run, command)
            return
        async with aclosing(self.services.responses.rounds(run, command, self.running)) as batches:
            async for _ in batches:
                pass
        self.answer(run.response)

    async def _stream(self, run: ResponseRun, command: Generate) -> None:
        responses = self.services.responses

        async def failure(error: ApiError) -> bytes:
            written = await responses.save_last(run, run.writer.fail(error))
            return b"".join([encode_event(each) for each in written])

        async with (
            self.event_stream(failure),
            aclosing(responses.rounds(run, command, self.running)) as batches,
        ):
            async for events in batches:
                data = [
                    comment(each.text) if isinstance(each, KeepAlive) else encode_event(each)
                    for each in events
                ]
                if data:
                    await self.send(b"".join(data))

    async def _in_background(self, run: ResponseRun, command: Generate, streamed: bool) -> None:
        self.set_header("x-request-id", command.id)
        counted = begin_request(self)
        # It is in flight until the response ends, and not only until this answer is sent.
        self.counted = None
        await self.services.responses.start(run, command, counted)
        if streamed:
            await self.follow(run, -1)
        else:
            self.answer(run.response)


class InputTokensHandler(ResponsesBase):
    """Count the tokens of a request's input."""

    endpoint = "v1/responses/input_tokens"

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Answer with their number."""
        request = self.decoded(DECODER)
        async with self.mcp_servers(request) as mcp:
            tools = request.offered_tools(mcp.offered() if mcp else ())
            asked = await self.read_input(await owner(self), request, tools)
        tokenized = await self.tokenized(request.model, asked.prompt)
        self.answer(InputTokens(len(tokenized.tokens)))


class _InConversation(msgspec.Struct):
    conversation: ConversationReference | None = None
