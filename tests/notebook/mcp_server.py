"""A small MCP server, run by its tests: `python mcp_server.py [port]`."""

import io
import os
import sys

import PIL.Image
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("small")


@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("no luck")


@server.tool()
def draw() -> Image:
    """Draw a small image."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 2), "red").save(file, format="PNG")
    return Image(data=file.getvalue(), format="png")


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(1)


if __name__ == "__main__":
    print("a line of its log", file=sys.stderr)
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
