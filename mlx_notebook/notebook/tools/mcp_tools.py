"""The tools of an MCP server for a chat: `mlx_notebook.mcp(...)`.

The official `mcp` package implements the protocol; the extra `mcp` installs it. A session must stay
in the task that opened it. So each has a task of its own on the background event loop, until
`close` or the end of the kernel.
"""

import asyncio
import atexit
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from mlx_notebook.notebook import background_loop
from mlx_notebook.notebook.errors import BadArguments, McpFailed
from mlx_notebook.notebook.inputs.images import EncodedImage
from mlx_notebook.notebook.tools.tool import Tool

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

# How long a server may take to start and list its tools, and to stop.
_START_SECONDS = 60.0
_END_SECONDS = 5.0


def mcp(
    command: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    headers: dict[str, str] | None = None,
) -> "McpServer":
    """Connect to an MCP server, for `Chat(tools=[mcp(...)])`.

    Parameters
    ----------
    command
        The program to start (stdio transport; it ends with the kernel), or the `http://` or
        `https://` address of a server (streamable HTTP transport).
    arguments
        Arguments of the program.
    env
        Environment variables for the program, besides the usual ones.
    cwd
        The folder in which the program runs.
    headers
        HTTP headers for each request to an address, such as `Authorization`.

    Returns
    -------
    McpServer
        The connection. Iterating over it yields the tools.

    Raises
    ------
    McpFailed
        If the `mcp` package is missing, or the server does not start or does not speak MCP.

    Examples
    --------
    >>> files = mlx_notebook.mcp("npx", "-y", "@modelcontextprotocol/server-filesystem", ".")
    >>> Chat(tools=[files]).ask("Which files are here?")
    """
    return McpServer(command, arguments, env=env, cwd=cwd, headers=headers)


class RemoteTool(Tool):
    """A tool of an MCP server."""

    is_async = True

    def __init__(
        self, server: "McpServer", name: str, description: str, parameters: dict[str, Any]
    ) -> None:
        self._server = server
        self.name = name
        self.description = description
        self.parameters = parameters

    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Decode arguments and return the call to make. The server itself validates them."""
        from pydantic_core import from_json

        if isinstance(arguments, str):
            try:
                arguments = from_json(arguments.strip() or "{}")
            except ValueError as error:
                raise BadArguments(f"The arguments are not valid JSON: {error}.") from None
        if not isinstance(arguments, dict):
            raise BadArguments("The arguments must be a JSON object.")
        given: dict[str, Any] = arguments
        return lambda: self._server.call(self.name, given)

    def __repr__(self) -> str:
        return f"<tool {self.name} of {self._server.name}>"


class McpServer:
    """A connection to an MCP server. Iterating over it yields the tools.

    Attributes
    ----------
    name
        The command or address.
    tools
        The tools of the server at the time of the connection.
    """

    def __init__(
        self,
        command: str,
        arguments: tuple[str, ...] = (),
        *,
        env: dict[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.name = " ".join([command, *arguments])
        self.tools: list[RemoteTool] = []
        self._client: Client | None = None
        self._closing: asyncio.Event | None = None
        try:
            import mcp  # noqa: F401
        except ImportError:
            raise McpFailed(
                "MCP servers need the `mcp` package: run `%pip install 'mlx-notebook[mcp]'`."
            ) from None
        # Otherwise the program's log would appear in the running cell.
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        ready: Future[None] = Future()
        self._session = background_loop.submit(
            self._hold(ready, _transport(command, arguments, env, cwd, headers, self._log))
        )
        try:
            ready.result(_START_SECONDS)
        except McpFailed:
            raise
        except TimeoutError:
            self.close()
            raise McpFailed(
                f"The MCP server {self.name} did not list its tools within {_START_SECONDS:.0f} s."
            ) from None
        except BaseException:
            self.close()
            raise
        atexit.register(self.close)

    def __iter__(self) -> Iterator[RemoteTool]:
        return iter(self.tools)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<MCP server {self.name}: {', '.join(tool.name for tool in self.tools)}>"

    def close(self) -> None:
        """Close the connection and stop the server's process, if it has one."""
        atexit.unregister(self.close)
        if self._session.done():
            return
        if self._closing is not None:
            background_loop.loop().call_soon_threadsafe(self._closing.set)
        else:
            self._session.cancel()
        try:
            self._session.result(_END_SECONDS)
        except (Exception, asyncio.CancelledError):
            self._session.cancel()

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool, from any event loop.

        Returns
        -------
        str or list
            The text of the result, or a list of texts and images.

        Raises
        ------
        McpFailed
            If the tool fails, or the server has ended.
        """
        return await asyncio.wrap_future(background_loop.submit(self._call(name, arguments)))

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        import anyio
        from mcp import MCPError

        if self._client is None:
            raise McpFailed(f"The MCP server {self.name} is closed.")
        try:
            result = await self._client.call_tool(name, arguments)
        except MCPError as error:
            raise McpFailed(f"{name} of the MCP server {self.name} failed: {error}.") from None
        except (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise McpFailed(f"The MCP server {self.name} has ended.") from None
        return _value(name, result)

    async def _hold(self, ready: "Future[None]", transport: Any) -> None:
        """Open the session and keep it open in this task until `close`."""
        from mcp import Client

        closing = asyncio.Event()
        try:
            async with Client(transport) as client:
                self.tools = await self._listed(client)
                self._client, self._closing = client, closing
                ready.set_result(None)
                await closing.wait()
        except Exception as error:
            if not ready.done():
                ready.set_exception(self._failed(error))
        finally:
            self._client = None
            self._log.close()

    async def _listed(self, client: "Client") -> list[RemoteTool]:
        tools: list[RemoteTool] = []
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [
                RemoteTool(self, tool.name, tool.description or "", tool.input_schema)
                for tool in page.tools
            ]
            cursor = page.next_cursor
            if cursor is None:
                return tools

    def _failed(self, error: BaseException) -> McpFailed:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._log.seek(0)
        last = self._log.read().strip().splitlines()[-1:]
        message = last[0] if last else str(error) or type(error).__name__
        return McpFailed(f"No MCP server answers at {self.name}: {message}")


def _transport(
    command: str,
    arguments: tuple[str, ...],
    env: dict[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    headers: dict[str, str] | None,
    log: Any,
) -> Any:
    if command.startswith(("http://", "https://")):
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        client = httpx2.AsyncClient(headers=headers) if headers else None
        return streamable_http_client(command, http_client=client)
    from mcp.client.stdio import StdioServerParameters, stdio_client

    parameters = StdioServerParameters(
        command=command, args=list(arguments), env=env, cwd=None if cwd is None else str(cwd)
    )
    return stdio_client(parameters, errlog=log)


def _value(name: str, result: "CallToolResult") -> Any:
    """Return a result as a function would return it."""
    import base64

    from mcp.types import ImageContent, TextContent

    parts: list[Any] = []
    for part in result.content:
        match part:
            case TextContent():
                parts.append(part.text)
            case ImageContent():
                parts.append(EncodedImage.of(base64.b64decode(part.data)))
            case _:
                parts.append(part.model_dump_json(exclude_none=True))
    if result.is_error:
        message = "\n".join(part for part in parts if isinstance(part, str))
        raise McpFailed(message or f"{name} failed.")
    return parts[0] if len(parts) == 1 else parts
