"""Tools of MCP servers in `v1/responses`: what a request says of them, and their items.

Format: https://platform.openai.com/docs/guides/tools-connectors-mcp.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.server.wire.decode import converted
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter

APPROVAL_PREFIX = "mcpr_"


class ToolFilter(Struct):
    """Some tools of a server: by their names, or by whether they change nothing."""

    tool_names: list[str] | None = None
    read_only: bool | None = None

    def matches(self, name: str, *, read_only: bool) -> bool:
        """Whether a tool is among them."""
        named = self.tool_names is None or name in self.tool_names
        return named and (self.read_only is None or self.read_only is read_only)


class ApprovalFilter(Struct):
    """Tools whose calls always need approval, and tools whose calls never do."""

    always: ToolFilter | None = None
    never: ToolFilter | None = None


class McpTool(Struct):
    """The tools of an MCP server."""

    server_label: Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
    server_url: str | None = None
    server_description: str | None = None
    allowed_tools: list[str] | ToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    headers: dict[str, str] | None = None
    authorization: str | None = None
    connector_id: Any = None
    tunnel_id: Any = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None

    @property
    def all_headers(self) -> dict[str, str]:
        """The HTTP headers of the request for the server."""
        headers = dict(self.headers or {})
        if self.authorization is not None:
            headers["Authorization"] = f"Bearer {self.authorization}"
        return headers

    def allows(self, name: str, *, read_only: bool) -> bool:
        """Whether the model may call a tool."""
        match self.allowed_tools:
            case None:
                return True
            case ToolFilter() as tools:
                return tools.matches(name, read_only=read_only)
            case names:
                return name in names

    def needs_approval(self, name: str, *, read_only: bool) -> bool:
        """Whether a call of a tool needs the approval of the client."""
        required = self.require_approval
        if not isinstance(required, ApprovalFilter):
            return required != "never"
        if required.always is not None and required.always.matches(name, read_only=read_only):
            return True
        never = required.never
        return never is None or not never.matches(name, read_only=read_only)


def mcp_tools(tools: list[dict[str, Any]]) -> list[tuple[str, McpTool]]:
    """Return the MCP servers among the tools of a request, with their JSON paths.

    Raises
    ------
    InvalidRequest
        If one is not valid, or needs what this server does not have.
    """
    found: list[tuple[str, McpTool]] = []
    for index, tool in enumerate(tools):
        if tool.get("type") != "mcp":
            continue
        path = f"tools[{index}]"
        mcp = converted(tool, McpTool, path)
        for name in ("connector_id", "tunnel_id", "defer_loading"):
            if getattr(mcp, name):
                raise unsupported_parameter(f"{path}.{name}")
        check_callers(mcp.allowed_callers, path)
        found.append((path, mcp))
    return found


def check_callers(callers: list[str] | None, path: str) -> None:
    """Check that the model may call a tool itself, and not only a program that it writes.

    Raises
    ------
    InvalidRequest
        If it may not, since this server runs no such programs.
    """
    if callers is not None and "direct" not in callers:
        raise unsupported_parameter(f"{path}.allowed_callers", "leave it out, or add 'direct'")


def without_secrets(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool for the response, which may be stored: without keys for an MCP server."""
    return {name: value for name, value in tool.items() if name not in ("headers", "authorization")}


def approval_digest(server: str, name: str, definition: Any, arguments: str) -> str:
    """Return a digest of what an approval is about, which is a part of its id.

    A server that changes a tool after the approval, or another server with the same label, does not
    get the approved call.
    """
    about = msgspec.json.encode([server, name, definition, arguments], order="sorted")
    return hashlib.sha256(about).hexdigest()[:32]


class McpListToolsItem(Struct, tag_field="type", tag="mcp_list_tools"):
    """The tools that a server listed in an earlier response."""

    server_label: str
    tools: list[dict[str, Any]] = []


class McpCallItem(Struct, tag_field="type", tag="mcp_call"):
    """A call of an MCP tool in an earlier response."""

    id: str
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: Any = None
    approval_request_id: str | None = None

    @property
    def result(self) -> str:
        """What the call gave, as the model gets it."""
        if self.error is None:
            return self.output or ""
        content = self.error.get("content") if isinstance(self.error, dict) else None
        if isinstance(content, list) and content and isinstance(content[0], dict):
            return f"Error: {content[0].get('text', '')}"
        return f"Error: {self.error if isinstance(self.error, str) else 'the call failed.'}"


class ApprovalRequestItem(Struct, tag_field="type", tag="mcp_approval_request"):
    """A call that waits for its approval."""

    id: str
    server_label: str
    name: str
    arguments: str


class ApprovalResponseItem(Struct, tag_field="type", tag="mcp_approval_response"):
    """The decision about a call."""

    approval_request_id: str
    approve: bool
    reason: str | None = None


def call_error(text: str) -> dict[str, Any]:
    """Return the error of a call that failed."""
    return {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": text}]}
