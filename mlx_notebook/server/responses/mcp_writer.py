"""Write a response whose model calls tools of MCP servers, which this server runs."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mlx_notebook import protocol
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.mcp.mcp_session import ListedTool
from mlx_notebook.server.responses.response_writer import Events, ResponseWriter
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.responses import response_events as wire
from mlx_notebook.server.wire.responses.mcp_items import (
    APPROVAL_PREFIX,
    ApprovalRequestItem,
    approval_digest,
    call_error,
)
from mlx_notebook.server.wire.responses.response_object import (
    ItemStatus,
    OutputApproval,
    OutputCall,
    OutputMcpCall,
    OutputMcpTools,
)


class McpFunction(Struct, frozen=True):
    """A tool of an MCP server that the model may call.

    Attributes
    ----------
    label, server
        Label of the server in the request, and what it is: its address or configured name.
    tool
        The tool.
    needs_approval
        Whether the client must approve a call.
    """

    label: str
    server: str
    tool: ListedTool
    needs_approval: bool

    def digest(self, arguments: str) -> str:
        """Return what the approval of a call is about, in short."""
        tool = self.tool
        definition = [tool.description, tool.input_schema, tool.annotations]
        return approval_digest(self.server, tool.name, definition, arguments)


class McpWriter(ResponseWriter):
    """Write one response with calls of MCP tools.

    A call stays open when its arguments are complete, until `end_call`. The response stays open at
    the end of a generation that has such calls.

    Attributes
    ----------
    calls
        Calls to make now, with their places in the output.
    waits
        Whether the client must act: approve a call, or run a function.
    """

    functions: Mapping[str, McpFunction] = {}

    def begin_round(self) -> None:
        """Begin with another generation."""
        self.calls: list[tuple[int, OutputMcpCall]] = []
        self.waits = False
        self._reason = "stop"
        self._whitespace.clear()

    # --- what MCP servers say ---------------------------------------------------------------------

    def write_tools(
        self, label: str, tools: list[ListedTool], error: str | None
    ) -> list[wire.ResponseEvent]:
        """Write the tools that a server has listed, or why it has none."""
        item = OutputMcpTools(new_id("mcpl_"), label, [shown(tool) for tool in tools], error)
        events = [*self._start(), *self._added(item)]
        place: dict[str, Any] = {"output_index": self._index, "item_id": item.id}
        last = wire.McpListToolsCompleted if error is None else wire.McpListToolsFailed
        events += [wire.McpListToolsInProgress(**place), last(**place)]
        events.append(wire.OutputItemDone(output_index=self._index, item=item))
        return [self._numbered(event) for event in events]

    def begin_approved_call(self, asked: ApprovalRequestItem) -> list[wire.ResponseEvent]:
        """Write a call that the client has approved, and add it to `calls`."""
        item = OutputMcpCall(
            *(new_id("mcp_"), "in_progress", asked.server_label, asked.name, asked.arguments),
            approval_request_id=asked.id,
        )
        events = [*self._start(), *self._added(item)]
        place: dict[str, Any] = {"output_index": self._index, "item_id": item.id}
        events.append(wire.McpCallInProgress(**place))
        events.append(wire.McpCallArgumentsDone(**place, arguments=asked.arguments))
        item.status = "calling"
        self.calls.append((self._index, item))
        return [self._numbered(event) for event in events]

    def refuse_approved_call(
        self, asked: ApprovalRequestItem, error: str
    ) -> list[wire.ResponseEvent]:
        """Write a call that the client has approved, and that cannot be made."""
        begun = self.begin_approved_call(asked)
        index, item = self.calls.pop()
        return [*begun, *self.end_call(index, item, None, error)]

    def ask(self, function: McpFunction, arguments: str) -> list[wire.ResponseEvent]:
        """Write a request to approve a call."""
        return [
            self._numbered(each) for each in (*self._start(), *self._asked(function, arguments))
        ]

    def end_call(
        self, index: int, item: OutputMcpCall, output: str | None, error: str | None
    ) -> list[wire.ResponseEvent]:
        """Write the result of a call, or why it failed."""
        item.output = output
        item.status = "completed" if error is None else "failed"
        if error is not None:
            item.error = call_error(error)
        kind = wire.McpCallCompleted if error is None else wire.McpCallFailed
        ended = kind(output_index=index, item_id=item.id)
        done = wire.OutputItemDone(output_index=index, item=item)
        return [self._numbered(ended), self._numbered(done)]

    def finish(self, *, cut_off: bool = False) -> list[wire.ResponseEvent]:
        """Complete the response, or end it at the token limit."""
        if cut_off:
            self._reason = "length"
        return [self._numbered(self._finish(None))]

    def fail(self, error: ApiError) -> list[wire.ResponseEvent]:
        """End the response with an error. Calls that have not ended are incomplete."""
        for _, item in self.calls:
            if item.status in ("in_progress", "calling"):
                item.status = "incomplete"
        return super().fail(error)

    # --- what the model says ----------------------------------------------------------------------

    def _open_call(self, event: protocol.ToolCallStart) -> Events:
        function = self.functions.get(event.name)
        self._function = function
        if function is None:
            self.waits = True
            yield from super()._open_call(event)
        elif function.needs_approval:
            self.waits = True
            # Its id depends on its arguments: it is written when they are complete.
            yield from self._start()
            yield from self._closing("completed")
            self._item = OutputApproval("", function.label, function.tool.name, "")
        else:
            id = new_id("mcp_")
            item = OutputMcpCall(id, "in_progress", function.label, function.tool.name, "")
            yield from self._open(item)
            yield wire.McpCallInProgress(output_index=self._index, item_id=id)

    def _arguments(self, arguments: str) -> Events:
        if isinstance(self._item, OutputCall):
            yield from super()._arguments(arguments)
            return
        self._pieces.append(arguments)
        if isinstance(self._item, OutputMcpCall):
            yield wire.McpCallArgumentsDelta(
                output_index=self._index, item_id=self._id, delta=arguments
            )

    def _close(self, status: ItemStatus, events: list[wire.ResponseEvent]) -> None:
        item, text = self._item, "".join(self._pieces)
        if not isinstance(item, OutputMcpCall | OutputApproval):
            super()._close(status, events)
            return
        self._item, self._pieces = None, []
        if isinstance(item, OutputApproval):
            # A call that was cut off cannot be approved.
            if status == "completed" and self._function is not None:
                events += self._asked(self._function, text)
            return
        item.arguments = text
        index = self._index
        events.append(
            wire.McpCallArgumentsDone(output_index=index, item_id=item.id, arguments=text)
        )
        if status == "completed":
            item.status = "calling"
            self.calls.append((index, item))
        else:
            item.status = "incomplete"
            events.append(wire.OutputItemDone(output_index=index, item=item))

    def _done(self, usage: protocol.Usage) -> Events:
        if not self.calls or self._reason in ("length", "content_filter"):
            yield self._finish(usage)
        else:
            self._add_usage(usage)

    def _asked(self, function: McpFunction, arguments: str) -> Events:
        self.waits = True
        id = new_id(f"{APPROVAL_PREFIX}{function.digest(arguments)}_")
        item = OutputApproval(id, function.label, function.tool.name, arguments)
        yield from self._added(item)
        yield wire.OutputItemDone(output_index=self._index, item=item)

    def _added(self, item: OutputMcpTools | OutputMcpCall | OutputApproval) -> Events:
        self.response.output.append(item)
        yield wire.OutputItemAdded(output_index=self._index, item=replace(item))


def shown(tool: ListedTool) -> dict[str, Any]:
    """Return a tool as an item lists it."""
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "annotations": tool.annotations,
    }
