"""The tools of `POST v1/responses`: those that the client runs, and those that are left out.

A client may offer tools that OpenAI's server runs, such as `web_search`. A model may always answer
without calling any of them. So they are left out of the prompt, and named to the client and in the
trace. A request that demands one of them is refused.

Format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-tools.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.decode import converted
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter
from mlx_notebook.server.wire.responses.mcp_items import McpTool, check_callers

_MOST_NAMESPACED = 128


class FunctionTool(Struct, omit_defaults=True):
    """A function that the model may call."""

    type: Literal["function"]
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: list[str] | None = None


class NamespaceTool(Struct):
    """Functions under a common name, such as those of an MCP server."""

    type: Literal["namespace"]
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    tools: Annotated[list[dict[str, Any]], Meta(max_length=_MOST_NAMESPACED)]
    description: str | None = None


class OfferedFunction(Struct, frozen=True):
    """A function as the model gets it.

    Attributes
    ----------
    function
        The function.
    namespace
        The name of its namespace, if it is in one.
    about
        What the model should know of the namespace. Its first function has this.
    """

    function: FunctionTool
    namespace: str | None = None
    about: str | None = None

    @property
    def name(self) -> str:
        """Its name for the model, which knows no namespaces."""
        return qualified(self.function.name, self.namespace)

    def for_template(self) -> dict[str, Any]:
        """Return the function as chat templates expect it."""
        tool = self.function
        described: dict[str, Any] = {"name": self.name}
        about = f"About {self.namespace}: {self.about}" if self.about else None
        texts = [text for text in (tool.description, about) if text is not None]
        if texts:
            described["description"] = "\n\n".join(texts)
        described["parameters"] = tool.parameters or {"type": "object", "properties": {}}
        if tool.strict:
            described["strict"] = True
        return {"type": "function", "function": described}


class OfferedTools(Struct, frozen=True):
    """The tools of a request.

    Attributes
    ----------
    functions
        What the model may call.
    left_out
        The places and types of the tools that it does not get.
    ignored
        Fields of tools that this server does not use.
    unavailable
        Why MCP servers give no tools, by their labels.
    """

    functions: list[OfferedFunction]
    left_out: list[str]
    ignored: list[str] = []
    unavailable: Mapping[str, str] = {}

    @property
    def namespaces(self) -> Mapping[str, tuple[str, str]]:
        """Namespace and name of each function in a namespace, by its name for the model."""
        return {
            offered.name: (offered.namespace, offered.function.name)
            for offered in self.functions
            if offered.namespace is not None
        }


def qualified(name: str, namespace: str | None) -> str:
    """Return the name of a function for the model."""
    return name if namespace is None else f"{namespace.rstrip('_')}__{name.lstrip('_')}"


def offered_tools(tools: list[dict[str, Any]], mcp: Sequence[OfferedFunction] = ()) -> OfferedTools:
    """Return the tools of a request, with those of its MCP servers.

    Raises
    ------
    InvalidRequest
        If a function is not valid, or two have the same name.
    """
    functions: list[OfferedFunction] = []
    left_out: list[str] = []
    ignored: list[str] = []
    names: set[str] = set()
    for path, tool, namespace, about in _flat(tools):
        kind = tool.get("type")
        if kind == "mcp" and namespace is None:
            ignored += _unknown(tool, McpTool, path)
            continue
        if isinstance(kind, str) and kind != "function":
            left_out.append(f"{path}:{kind[:100]}")
            continue
        for key in ("defer_loading", "async"):
            if tool.get(key):
                raise unsupported_parameter(f"{path}.{key}")
        function = converted(tool, FunctionTool, path)
        check_callers(function.allowed_callers, path)
        ignored += _unknown(tool, FunctionTool, path)
        offered = OfferedFunction(function, namespace, about)
        if offered.name in names:
            raise InvalidRequest(f"Two tools have the name {offered.name!r}.", param=f"{path}.name")
        names.add(offered.name)
        functions.append(offered)
    for offered in mcp:
        if offered.name in names:
            raise InvalidRequest(f"Two tools have the name {offered.name!r}.", param="tools")
        names.add(offered.name)
    return OfferedTools([*functions, *mcp], left_out, ignored)


def _flat(
    tools: list[dict[str, Any]],
) -> Iterator[tuple[str, dict[str, Any], str | None, str | None]]:
    """Yield each tool with its path, its namespace, and what is said about the namespace."""
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if tool.get("type") != "namespace":
            yield path, tool, None, None
            continue
        space = converted(tool, NamespaceTool, path)
        about = space.description
        for at, inner in enumerate(space.tools):
            yield f"{path}.tools[{at}]", inner, space.name, about
            if inner.get("type") == "function":
                about = None


def _unknown(tool: dict[str, Any], known: type[Struct], path: str) -> list[str]:
    """Return the fields of a tool that this server does not know, unless they are off."""
    off = ("defer_loading", "async")
    return [
        f"{path}.{name}"
        for name, value in tool.items()
        if name not in ("type", *known.__struct_fields__, *off) and value is not None
    ]
