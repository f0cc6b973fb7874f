"""Handle `POST v1/responses`, also streamed or in the background, and its token count."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.model_files.generation_config import effective_sampling
from mlx_notebook.protocol import ChatPrompt, Generate, ToolChoice
from mlx_notebook.server.api.generation import local_options
from mlx_notebook.server.api.http.base import ends_with_client
from mlx_notebook.server.api.http.event_stream import comment
from mlx_notebook.server.api.responses.response_input import (
    NAMES,
    ReadInput,
    ResponsesBase,
    tools_with,
)
from mlx_notebook.server.api.responses.truncation import truncate
from mlx_notebook.server.api.user_rules import begin_request
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.identity import owner
from mlx_notebook.server.responses.mcp_run import McpRun
from mlx_notebook.server.responses.mcp_writer import McpWriter
from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_store import PREFIX
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.wire.ids import new_id, now
from mlx_notebook.server.wire.responses.response_events import encode_event
from mlx_notebook.server.wire.responses.response_object import InputTokens, Response
from mlx_notebook.server.wire.responses.response_tools import OfferedTools
from mlx_notebook.server.wire.responses.responses_request import DECODER, ResponsesRequest


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
        # A client that does not wait for the response does not wait for these servers either.
        opens_later = mcp is not None and bool(request.background)
        if mcp is not None and not opens_later:
            async with self.signs_of_life():
                await mcp.open()
        tools = tools_with(request, mcp)
        asked = await self.read_input(user, request, tools)
        id, prompt = new_id(PREFIX), asked.prompt
        if opens_later:
            command = await self._command_for(id, request, prompt, ToolChoice())
        else:
            command = await self.response_command(id, request, prompt, tools)
        run = await self._run(user, request, command, asked, tools, mcp)
        if not request.background:
            with self.services.responses.registered(run):
                await self.for_client(run, command, bool(request.stream))
            return
        run.claims = claims.pop_all()

        async def open_and_ask() -> Generate:
            assert mcp is not None
            await mcp.open()
            tools = tools_with(request, mcp)
            offered = [function.for_template() for function in tools.functions]
            with_tools = msgspec.structs.replace(prompt, tools=offered)
            return await self.response_command(id, request, with_tools, tools)

        prepare = open_and_ask if opens_later else None
        await self._in_background(run, command, prepare, streamed=bool(request.stream))

    async def response_command(
        self, id: str, request: ResponsesRequest, prompt: ChatPrompt, tools: OfferedTools
    ) -> Generate:
        """Return the command to ask the model for a response.

        Raises
        ------
        ApiError
            If the model or the tools do not allow it.
        """
        choice = request.choice(tools)
        if request.truncation == "auto":
            prompt = await truncate(self, request.model, prompt, request.max_output_tokens)
        return await self._command_for(id, request, prompt, choice)

    async def _command_for(
        self, id: str, request: ResponsesRequest, prompt: ChatPrompt, choice: ToolChoice
    ) -> Generate:
        return await self.command(
            id,
            request.model,
            prompt,
            request.sampling(),
            tool_choice=choice,
            output_format=request.output_format(),
            reasoning_budget=request.reasoning_budget(),
            **local_options(request),
        )

    async def _run(
        self,
        user: str,
        request: ResponsesRequest,
        command: Generate,
        asked: ReadInput,
        tools: OfferedTools,
        mcp: McpRun | None,
    ) -> ResponseRun:
        """Return the run of a response that has not begun.

        Raises
        ------
        ApiError
            If it cannot be stored, or an approval is for an MCP server that is not among its tools.
        """
        for approved in asked.approved.values():
            if mcp is None or approved.server_label not in mcp.labels:
                raise InvalidRequest(
                    f"A call of the MCP server {approved.server_label[:100]!r} is approved, which "
                    "is not in 'tools'. Send the same 'tools' with the approval.",
                    param="tools",
                    code="missing_parameter",
                )
        store = await self.stores(request)
        model = request.model or command.model
        entry = await self.services.catalog.find(command.model)
        chosen = effective_sampling(command.sampling, entry.facts.sampling_defaults)
        if request.reasoning is not None and "reasoning_effort" in self.passed_on:
            request.reasoning.effort = self.passed_on["reasoning_effort"]
        response = Response.to(request, command.id, model, now(), chosen=chosen, store=store)
        writer = self.writer_class(mcp)(
            response,
            as_summary=request.wants_summary,
            sealed="reasoning.encrypted_content" in (request.include or ()),
            alternatives=request.prompt_logprobs or 0,
            namespaces=tools.namespaces,
        )
        run = ResponseRun(user, writer, asked.items, self.ignored, self.notices)
        run.before = asked.before
        run.trace_context = self.report.context
        if mcp is not None and isinstance(writer, McpWriter):
            mcp.note_known([*asked.before, *asked.items])
            mcp.approved = asked.approved
            writer.begin_round()
            run.mcp = mcp
        return run

    def writer_class(self, mcp: McpRun | None) -> type[ResponseWriter]:
        """Return what writes a response with these MCP servers."""
        return ResponseWriter if mcp is None else McpWriter

    async def stores(self, request: ResponsesRequest) -> bool:
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

    async def for_client(self, run: ResponseRun, command: Generate, streamed: bool) -> None:
        """Run a response for a client that waits, and answer with it."""
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

    async def _in_background(
        self,
        run: ResponseRun,
        command: Generate,
        prepare: Callable[[], Awaitable[Generate]] | None,
        *,
        streamed: bool,
    ) -> None:
        self.set_header("x-request-id", command.id)
        counted = begin_request(self)
        # It is in flight until the response ends, and not only until this answer is sent.
        self.counted = None
        await self.services.responses.start(run, command, counted, prepare)
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
            if mcp is not None:
                await mcp.open()
            tools = tools_with(request, mcp)
            asked = await self.read_input(await owner(self), request, tools)
        tokenized = await self.tokenized(request.model, asked.prompt)
        self.answer(InputTokens(len(tokenized.tokens)))
