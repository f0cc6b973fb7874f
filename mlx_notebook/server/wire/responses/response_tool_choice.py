"""Which tools a request for a response demands.

Format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-tool_choice.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mlx_notebook.server.errors import InvalidRequest, Unavailable
from mlx_notebook.server.wire.decode import converted


class FunctionChoice(Struct, tag_field="type", tag="function"):
    """The model must call this function."""

    name: str
    namespace: str | None = None


class McpChoice(Struct, tag_field="type", tag="mcp"):
    """The model must call a tool of this MCP server."""

    server_label: str
    name: str | None = None


class AllowedFunctions(Struct, tag_field="type", tag="allowed_tools"):
    """The model may, or must, call one of these."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[dict[str, Any]], Meta(min_length=1)]


def tool_choice_of(choice: dict[str, Any]) -> FunctionChoice | McpChoice | AllowedFunctions:
    """Return a choice as one of the types above.

    Raises
    ------
    InvalidRequest
        If it fits none of them.
    """
    kind = choice.get("type")
    if isinstance(kind, str) and kind not in ("function", "mcp", "allowed_tools"):
        raise not_run(kind, "tool_choice.type")
    kinds: Any = FunctionChoice | McpChoice | AllowedFunctions
    return converted(choice, kinds, "tool_choice")  # type: ignore[no-any-return]


def not_run(kind: str, param: str) -> InvalidRequest:
    """Return the error for a choice that demands a tool of a type that is not run here."""
    return InvalidRequest(
        f"'tool_choice' demands a tool of the type {kind[:100]!r}, which this server cannot run. "
        "It may name functions and MCP servers.",
        param=param,
        code="unsupported_tool",
    )


def not_reached(label: str, why: str) -> Unavailable:
    """Return the error for a choice that demands a tool of an MCP server that gives none."""
    return Unavailable(
        f"'tool_choice' demands a call, but the MCP server {label[:100]!r} gives no tools: {why}",
        param="tool_choice",
        code="mcp_not_reached",
        # A client that tries again at once would wait as long again.
        headers={"x-should-retry": "false"},
    )
