"""Hold the connections to MCP servers, each in a task of its own.

The official package implements the protocol; the extra `mcp` installs it. What a server sends is
data: it is bounded here, and only ever shown to the model and the client as text.
"""

import asyncio
import re
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from traitlets.log import get_logger

from mlx_notebook.server.errors import QueueFull, Unavailable
from mlx_notebook.server.mcp.address_transport import address
from mlx_notebook.server.mcp.mcp_settings import McpLimits, McpTarget
from mlx_notebook.server.mcp.program_transport import program

if TYPE_CHECKING:
    from mcp import Client

_END_SECONDS = 5.0
_ENDED = "The MCP server has ended."
# The package's own code for an answer that cannot come any more.
_CONNECTION_CLOSED = -32000
_TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")


class McpFailed(Exception):
    """An MCP server or one of its tools failed. The text is for the model and the client.

    Attributes
    ----------
    kind
        What failed, for OpenTelemetry: its `error.type`.
    """

    def __init__(self, text: str, kind: str = "mcp_server_ended") -> None:
        super().__init__(text)
        self.kind = kind


class ListedTool(msgspec.Struct, frozen=True):
    """A tool as its server describes it."""

    name: str
    description: str | None
    input_schema: dict[str, Any]
    annotations: dict[str, Any] | None

    @property
    def is_read_only(self) -> bool:
        """Whether the server says that the tool changes nothing."""
        return bool((self.annotations or {}).get("readOnlyHint"))


class McpSession:
    """Hold one connection, from `open` to `close`.

    Parameters
    ----------
    target
        Server to connect to.
    limits
        What it may take.
    """

    def __init__(self, target: McpTarget, limits: McpLimits) -> None:
        self.target = target
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._client: Client | None = None

    async def open(self) -> list[ListedTool]:
        """Connect, and return the server's tools.

        Raises
        ------
        McpFailed
            If it does not answer in time, or lists what cannot be used.
        """
        ready: asyncio.Future[list[ListedTool]] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(ready))
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await ready
        except TimeoutError:
            raise McpFailed(
                f"It did not list its tools within {self._limits.seconds:g} seconds "
                "(MlxNotebookApp.mcp_timeout_seconds)."
            ) from None

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Call a tool, and return its result as text.

        Raises
        ------
        McpFailed
            If it fails, takes too long, or the server has ended.
        """
        from mcp import MCPError

        if self._client is None:
            raise McpFailed(_ENDED)
        try:
            async with asyncio.timeout(self._limits.seconds):
                result = await self._client.call_tool(name, arguments)
        except TimeoutError:
            raise McpFailed(
                f"The tool did not answer within {self._limits.seconds:g} seconds "
                "(MlxNotebookApp.mcp_timeout_seconds).",
                "timeout",
            ) from None
        except (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise McpFailed(_ENDED) from None
        except MCPError as error:
            if error.code == _CONNECTION_CLOSED:
                raise McpFailed(_ENDED) from None
            raise McpFailed(self._cut(str(error)), str(error.code)) from None
        except (RuntimeError, ValueError) as error:
            raise McpFailed(self._cut(str(error)), "invalid_answer") from None
        text = self._cut("\n".join(_text(part) for part in result.content))
        if result.is_error:
            raise McpFailed(text or "The tool failed.", "tool_error")
        return text

    async def close(self) -> None:
        """Close the connection, and end the program if it is one."""
        if self._task is None:
            return
        self._closing.set()
        _, running = await asyncio.wait([self._task], timeout=_END_SECONDS)
        for task in running:
            task.cancel()
            await asyncio.wait([task], timeout=_END_SECONDS)

    async def _hold(self, ready: "asyncio.Future[list[ListedTool]]") -> None:
        from mcp import Client

        target, limits = self.target, self._limits
        transport = (
            program(target.command, target.env, target.folder)
            if target.command
            else address(target.url, target.headers, limits.seconds)
        )
        closing = asyncio.create_task(self._closing.wait())
        try:
            # Nothing is cached: the tools may have changed since the last response.
            client = Client(transport, cache=None, read_timeout_seconds=limits.seconds)
            with anyio.CancelScope() as scope:
                closing.add_done_callback(lambda _: scope.cancel())
                async with client:
                    tools = await self._listed(client)
                    if not ready.done():
                        ready.set_result(tools)
                    self._client = client
                    await anyio.sleep_forever()
        except Exception as error:
            if ready.done():
                # The next call fails too, but only the log says why.
                get_logger().warning("The MCP server %s has ended: %s", target.name, _reason(error))
            else:
                ready.set_exception(McpFailed(_reason(error)))
        finally:
            self._client = None
            closing.cancel()
            if not ready.done():
                ready.set_exception(McpFailed(_ENDED))

    async def _listed(self, client: "Client") -> list[ListedTool]:
        tools: list[ListedTool] = []
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                if not _TOOL_NAME.fullmatch(tool.name):
                    raise McpFailed(f"It has a tool with an unusable name: {tool.name[:100]!r}.")
                annotations = tool.annotations
                tools.append(
                    ListedTool(
                        tool.name,
                        tool.description,
                        tool.input_schema,
                        annotations.model_dump(by_alias=True, exclude_none=True)
                        if annotations
                        else None,
                    )
                )
            if len(tools) > self._limits.tools:
                raise McpFailed(
                    f"It lists more than {self._limits.tools:,} tools "
                    "(MlxNotebookApp.mcp_max_tools)."
                )
            cursor = page.next_cursor
            if cursor is None:
                return tools

    def _cut(self, text: str) -> str:
        most = self._limits.result_bytes
        data = text.encode(errors="replace")
        if len(data) <= most:
            return text
        kept = data[:most].decode(errors="ignore")
        return f"{kept}\n[Cut here: the result has {len(data):,} bytes, and {most:,} are allowed.]"


class McpSessions:
    """Count the connections of all users, and close them when the server stops.

    Parameters
    ----------
    limits
        What MCP servers may take.
    """

    def __init__(self, limits: McpLimits) -> None:
        self._limits = limits
        self._open: set[McpSession] = set()

    def reserve(self, targets: list[McpTarget]) -> list[McpSession]:
        """Return a new connection to each server. `release` closes them.

        Raises
        ------
        ApiError
            If there are too many, or the package for MCP is missing.
        """
        try:
            import mcp  # noqa: F401
        except ImportError:
            raise Unavailable(
                "MCP servers need the package `mcp`, which is not installed where this server "
                "runs: pip install 'mlx-notebook[mcp]'.",
                param="tools",
                code="mcp_not_installed",
            ) from None
        if len(self._open) + len(targets) > self._limits.sessions:
            raise QueueFull(
                f"This server has {len(self._open)} connections to MCP servers, and may have "
                f"{self._limits.sessions} (MlxNotebookApp.mcp_max_sessions). Try again later.",
                param="tools",
            )
        sessions = [McpSession(target, self._limits) for target in targets]
        self._open.update(sessions)
        return sessions

    async def release(self, sessions: list[McpSession]) -> None:
        """Close connections."""
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.gather(*(session.close() for session in sessions))
        finally:
            self._open.difference_update(sessions)

    async def close(self) -> None:
        """Close all connections."""
        await self.release(list(self._open))


def _text(part: Any) -> str:
    if part.type == "text":
        return str(part.text)
    if part.type in ("image", "audio"):
        return f"[{part.type} of the type {part.mime_type} left out]"
    return str(part.model_dump_json(exclude_none=True, by_alias=True))


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if getattr(error, "code", None) == _CONNECTION_CLOSED:
        return _ENDED
    return str(error)[:1000] or type(error).__name__
