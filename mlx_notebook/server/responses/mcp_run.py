"""Run the tools of MCP servers within a response, and ask the model again with their results."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext

import msgspec

from mlx_notebook.protocol import ChatPrompt, Generate, ToolChoice
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.mcp.mcp_session import ListedTool, McpFailed, McpSession
from mlx_notebook.server.mcp.mcp_settings import McpLimits
from mlx_notebook.server.responses.mcp_writer import McpFunction, McpWriter, shown
from mlx_notebook.server.telemetry.reports import ReportedCall
from mlx_notebook.server.wire.conversation import with_ordered_tool_results
from mlx_notebook.server.wire.responses import response_events as wire
from mlx_notebook.server.wire.responses.item_messages import ItemMessageBuilder
from mlx_notebook.server.wire.responses.mcp_items import ApprovalRequestItem, McpTool
from mlx_notebook.server.wire.responses.response_items import typed_item
from mlx_notebook.server.wire.responses.response_object import OutputItem, OutputMcpCall
from mlx_notebook.server.wire.responses.response_tools import FunctionTool, OfferedFunction

_NOT_OFFERED = "The MCP server has no such tool any more, or 'tools' does not allow it."

Events = AsyncGenerator[list[wire.ResponseEvent | KeepAlive], None]


class McpRun:
    """Run the MCP servers of one response.

    Parameters
    ----------
    tools
        Servers of the request.
    sessions
        A connection to each, which are not open yet.
    limits
        What they may take.
    most_calls
        Most calls within the response. None: any number.
    keep_alive_seconds
        Time without an event after which the client should see that a call still runs.

    Attributes
    ----------
    approved
        Calls that the client has approved with this request, by the ids of their requests.
    reported
        Reports the call that is made in its block.
    """

    def __init__(
        self,
        tools: list[McpTool],
        sessions: list[McpSession],
        limits: McpLimits,
        most_calls: int | None,
        keep_alive_seconds: float,
    ) -> None:
        self._servers = {
            tool.server_label: (tool, session)
            for tool, session in zip(tools, sessions, strict=True)
        }
        self._limits = limits
        self._most_calls = most_calls
        self._keep_alive_seconds = keep_alive_seconds
        self._listed: dict[str, tuple[list[ListedTool], str | None]] = {}
        self._known: Mapping[str, object] = {}
        self._rounds = 0
        self._made = 0
        self.approved: dict[str, ApprovalRequestItem] = {}
        self.reported: Callable[[ReportedCall], AbstractContextManager[ReportedCall]] = nullcontext

    @property
    def labels(self) -> list[str]:
        """The labels of the servers."""
        return list(self._servers)

    async def open(self) -> None:
        """Connect to all servers, and ask for their tools."""
        found = await asyncio.gather(*(self._list(label) for label in self.labels))
        self._listed = dict(zip(self.labels, found, strict=True))

    async def _list(self, label: str) -> tuple[list[ListedTool], str | None]:
        tool, session = self._servers[label]
        try:
            listed = await session.open()
        except McpFailed as error:
            return [], str(error)
        return [
            each for each in listed if tool.allows(each.name, read_only=each.is_read_only)
        ], None

    @property
    def failures(self) -> dict[str, str]:
        """Why servers have not listed their tools, by their labels."""
        return {label: error for label, (_, error) in self._listed.items() if error is not None}

    @property
    def functions(self) -> dict[str, McpFunction]:
        """The tools that the model may call, by their names for the model."""
        functions = {}
        for label, (tools, _) in self._listed.items():
            asked, session = self._servers[label]
            target = session.target
            for tool in tools:
                needs = asked.needs_approval(tool.name, read_only=tool.is_read_only)
                function = McpFunction(label, target.url or f"name:{target.name}", tool, needs)
                functions[_offered(function).name] = function
        return functions

    def offered(self) -> list[OfferedFunction]:
        """Return the tools as the model gets them. The first of a server says what it is for."""
        about = {label: tool.server_description for label, (tool, _) in self._servers.items()}
        return [
            _offered(function, about.pop(function.label, None))
            for function in self.functions.values()
        ]

    def note_known(self, items: list[dict[str, object]]) -> None:
        """Note which lists of tools the client has already: only others are sent again."""
        self._known = {
            str(item["server_label"]): item.get("tools")
            for item in items
            if item["type"] == "mcp_list_tools" and not item.get("error")
        }

    # --- rounds -----------------------------------------------------------------------------------

    async def begin(self, writer: McpWriter) -> Events:
        """Write the tools, and make the calls that the client has approved."""
        writer.begin_round()
        writer.functions = self.functions
        for label, (tools, error) in self._listed.items():
            if error is not None or self._known.get(label) != [shown(tool) for tool in tools]:
                yield [*writer.write_tools(label, tools, error)]
        by_tool = {(each.label, each.tool.name): each for each in writer.functions.values()}
        for id, asked in self.approved.items():
            function = by_tool.get((asked.server_label, asked.name))
            if function is None:
                why = self.failures.get(asked.server_label, _NOT_OFFERED)
                yield [*writer.refuse_approved_call(asked, why)]
            elif id.startswith(f"mcpr_{function.digest(asked.arguments)}_"):
                yield [*writer.begin_approved_call(asked)]
            else:
                # It is not the call that was approved: its tool has changed since.
                yield [*writer.ask(function, asked.arguments)]
        async with aclosing(self.make_calls(writer)) as calls:
            async for made in calls:
                yield made

    async def make_calls(self, writer: McpWriter) -> Events:
        """Make the calls that wait, and write their results. Whoever closes this ends the call."""
        for index, item in list(writer.calls):
            call = asyncio.create_task(self._made_call(item))
            try:
                while not (await asyncio.wait([call], timeout=self._keep_alive_seconds))[0]:
                    yield [KeepAlive("keep-alive calling a tool")]
                output, error = call.result()
            finally:
                call.cancel()
            yield [*writer.end_call(index, item, output, error)]
        writer.calls = []

    async def _made_call(self, item: OutputMcpCall) -> tuple[str | None, str | None]:
        """Make a call. Return its output, or its error."""
        with self.reported(self._described(item)) as call:
            try:
                call.result = await self._result(item)
            except McpFailed as failure:
                call.message, call.error = str(failure), failure.kind
                return None, call.message
            return call.result, None

    def _described(self, item: OutputMcpCall) -> ReportedCall:
        tools, _ = self._listed[item.server_label]
        described = {tool.name: tool.description or "" for tool in tools}
        return ReportedCall(
            name=item.name,
            description=described.get(item.name, ""),
            server=item.server_label,
            id=item.id,
            arguments=item.arguments,
        )

    async def _result(self, item: OutputMcpCall) -> str:
        if self._most_calls is not None and self._made >= self._most_calls:
            message = "Not called: the request allows no more calls (max_tool_calls)."
            raise McpFailed(message, "too_many_calls")
        self._made += 1
        try:
            arguments = json.loads(item.arguments or "{}")
        except ValueError as error:
            message = f"The arguments are not valid JSON: {error}."
            raise McpFailed(message, "invalid_arguments") from None
        if not isinstance(arguments, dict):
            raise McpFailed("The arguments must be a JSON object.", "invalid_arguments")
        return await self._servers[item.server_label][1].call(item.name, arguments)

    def command(self, first: Generate, writer: McpWriter) -> Generate | None:
        """Return the command to ask the model next. None if no tokens are left for an answer."""
        self._rounds += 1
        output = writer.response.output
        choice = first.tool_choice
        if self._made:
            choice = msgspec.structs.replace(choice, mode="auto", names=None)
        if self._rounds >= self._limits.rounds:
            choice = ToolChoice(mode="none")
        sampling = first.sampling
        if sampling.max_tokens is not None and writer.response.usage is not None:
            left = sampling.max_tokens - writer.response.usage.output_tokens
            if left <= 0:
                return None
            sampling = msgspec.structs.replace(sampling, max_tokens=left)
        assert isinstance(first.prompt, ChatPrompt)
        added = messages_of(output)
        prompt = first.prompt
        if added:
            prompt = msgspec.structs.replace(
                prompt,
                messages=[*prompt.messages, *added],
                continues=False,
                add_generation_prompt=True,
            )
        id = first.id if self._rounds == 1 else f"{first.id}.{self._rounds}"
        writer.begin_round()
        return msgspec.structs.replace(
            first, id=id, prompt=prompt, tool_choice=choice, sampling=sampling
        )


def messages_of(output: list[OutputItem]) -> list[dict[str, object]]:
    """Return items of a response as messages."""
    builder = ItemMessageBuilder(None)
    for item in msgspec.to_builtins(output):
        builder.add(typed_item(item, "output"), "output")
    return with_ordered_tool_results(builder.messages)


def _offered(function: McpFunction, about: str | None = None) -> OfferedFunction:
    tool = function.tool
    described = FunctionTool("function", tool.name, tool.description, tool.input_schema)
    return OfferedFunction(described, function.label, about)
