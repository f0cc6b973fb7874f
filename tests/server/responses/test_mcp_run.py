"""Calls of MCP tools within a response: how often the model is asked, and how long a call lives."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from mlx_notebook.protocol import (
    ChatPrompt,
    Done,
    Event,
    Finished,
    Generate,
    Text,
    Timings,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.mcp.mcp_session import ListedTool, McpSession
from mlx_notebook.server.mcp.mcp_settings import McpLimits, McpTarget
from mlx_notebook.server.responses.mcp_run import McpRun
from mlx_notebook.server.responses.mcp_writer import McpWriter
from mlx_notebook.server.responses.response_run import ResponseRun
from mlx_notebook.server.responses.response_runs import ResponseRuns, Rounds
from mlx_notebook.server.responses.response_store import ResponseStore
from mlx_notebook.server.wire.responses.mcp_items import McpTool
from mlx_notebook.server.wire.responses.response_object import OutputMcpCall, Response
from mlx_notebook.server.wire.responses.responses_request import DECODER

pytestmark = pytest.mark.anyio
TOOL = ListedTool("look", None, {"type": "object", "properties": {}}, None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeSession:
    """An MCP server with one tool, whose calls wait until they may end."""

    target = McpTarget(name="fake", url="http://fake/mcp")

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def open(self) -> list[ListedTool]:
        return [TOOL]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "seen"


class EagerModel:
    """Calls the tool whenever it may."""

    def __init__(self) -> None:
        self.asked: list[Generate] = []

    @asynccontextmanager
    async def opened(self, command: Generate) -> AsyncIterator[Any]:
        self.asked.append(command)
        yield self

    async def batches(self) -> AsyncIterator[list[Event]]:
        command = self.asked[-1]
        id = command.id
        said: list[Event] = [Text(id, 0, "Enough.", 1)]
        if command.tool_choice.mode != "none":
            said = [
                ToolCallStart(id, 0, 0, f"call_{len(self.asked)}", "fake__look"),
                ToolCallArguments(id, 0, 0, "{}"),
            ]
        yield [*said, Finished(id, 0, "stop"), Done(id, Usage(1, 1, 0, 0), Timings(0, 0, 0, 0, 0))]


async def started(
    session: FakeSession, model: EagerModel, folder: Path, *, rounds: int
) -> tuple[ResponseRun, Rounds]:
    """The run of a response with a tool, and its events."""
    limits = McpLimits(seconds=9, result_bytes=99, tools=9, rounds=rounds, sessions=1)
    tool = McpTool("fake", require_approval="never")
    mcp = McpRun([tool], [cast(McpSession, session)], limits, None, 0.01)
    await mcp.open()
    request = DECODER.decode(b'{"input": "Hi", "store": false}')
    chosen = {"temperature": 0.0, "top_p": 1.0}
    made = Response.to(request, "resp_1", "model", 1, chosen=chosen, store=False)
    run = ResponseRun("me", McpWriter(made, as_summary=False, sealed=False), [], [], [])
    run.mcp = mcp
    log = logging.getLogger("test")
    store = ResponseStore(folder / "responses", max_age=1e9, max_bytes=1 << 20, log=log)
    prompt = ChatPrompt(messages=[{"role": "user", "content": "Hi"}])
    command = Generate(id="resp_1", model="model", path="/", prompt=prompt)
    runs = ResponseRuns(store, cast(Any, None), log)
    return run, runs.rounds(run, command, cast(Any, model.opened))


async def test_the_last_round_has_no_tools(tmp_path: Path) -> None:
    session, model = FakeSession(), EagerModel()
    session.may_answer.set()
    run, rounds = await started(session, model, tmp_path, rounds=3)
    async for _ in rounds:
        pass
    assert [command.tool_choice.mode for command in model.asked] == ["auto", "auto", "none"]
    assert [command.id for command in model.asked] == ["resp_1", "resp_1.2", "resp_1.3"]
    kinds = [item["type"] for item in msgspec.to_builtins(run.response.output)]
    assert kinds == ["mcp_list_tools", "mcp_call", "mcp_call", "message"]
    assert run.response.status == "completed"


async def test_the_client_hears_of_a_long_call_and_its_end_ends_the_call(tmp_path: Path) -> None:
    session = FakeSession()
    _, rounds = await started(session, EagerModel(), tmp_path, rounds=3)
    heard = 0
    async with aclosing(rounds) as batches:
        async for events in batches:
            heard += sum(isinstance(event, KeepAlive) for event in events)
            if heard == 3:
                break
    await session.cancelled.wait()


async def test_a_call_that_ends_after_a_while_counts(tmp_path: Path) -> None:
    session = FakeSession()
    run, rounds = await started(session, EagerModel(), tmp_path, rounds=2)
    async for events in rounds:
        if any(isinstance(event, KeepAlive) for event in events):
            session.may_answer.set()
    [call] = [item for item in run.response.output if isinstance(item, OutputMcpCall)]
    assert (call.status, call.output) == ("completed", "seen")
