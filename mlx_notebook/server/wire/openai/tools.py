"""`tools` and `tool_choice` of `v1/chat/completions`.

Format: https://platform.openai.com/docs/api-reference/chat/create. Some clients send `tool_choice`
in the flat form of `v1/responses`, which is accepted too.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mlx_notebook import protocol
from mlx_notebook.server.errors import InvalidRequest

ToolChoiceMode = Literal["none", "auto", "required"]


class FunctionDefinition(Struct):
    """A function that the model may call. `parameters` is the JSON schema of its arguments."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(Struct):
    """A tool. The model gets only functions."""

    function: FunctionDefinition | None = None
    type: str = "function"


# `template_tools` reports faults in a tool; the OpenAPI schema gives only the shape.
DescribedChatTool = Annotated[
    ChatTool,
    Meta(
        extra_json_schema={
            "anyOf": [
                {
                    "properties": {"type": {"const": "function"}, "function": {"type": "object"}},
                    "required": ["function"],
                },
                # Left out of the prompt.
                {
                    "properties": {"type": {"type": "string", "not": {"const": "function"}}},
                    "required": ["type"],
                },
            ]
        }
    ),
]


class ToolName(Struct):
    """A tool that `tool_choice` names."""

    function: "FunctionName | None" = None
    name: str | None = None
    type: str = "function"

    @property
    def named(self) -> str | None:
        """The function's name, in either of the two forms."""
        return self.function.name if self.function is not None else self.name


class FunctionName(Struct):
    """The name of a function."""

    name: str


class AllowedTools(Struct):
    """The tools that the model may (`auto`) or must (`required`) call."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ToolName], Meta(min_length=1)]


class ToolChoiceObject(Struct):
    """`tool_choice` as an object: a function that must be called, or the allowed tools."""

    type: Literal["function", "allowed_tools"]
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[ToolName] | None = None


def template_tools(tools: list[ChatTool]) -> list[dict[str, Any]]:
    """Return functions as chat templates expect them, with keys in a fixed order.

    Raises
    ------
    InvalidRequest
        A function is not valid, or two have the same name.
    """
    rendered: list[dict[str, Any]] = []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if tool.type != "function":
            continue
        given = tool.function
        if given is None:
            raise InvalidRequest(
                f"The request needs '{path}.function'.",
                param=f"{path}.function",
                code="missing_parameter",
            )
        if given.name in names:
            raise InvalidRequest(
                f"Two tools have the name {given.name!r}.", param=f"{path}.function.name"
            )
        names.add(given.name)
        function: dict[str, Any] = {"name": given.name}
        if given.description is not None:
            function["description"] = given.description
        function["parameters"] = given.parameters or {"type": "object", "properties": {}}
        if given.strict:
            function["strict"] = True
        rendered.append({"type": "function", "function": function})
    return rendered


def left_out_tools(tools: list[ChatTool]) -> list[str]:
    """Return the places and types of the tools that the model does not get.

    Hosted models know them, or their servers run them. The API lets a model answer without calling
    any of them.
    """
    return [
        f"tools[{index}]:{tool.type[:100]}"
        for index, tool in enumerate(tools)
        if tool.type != "function"
    ]


def checked_tool_choice(
    given: ToolChoiceMode | ToolChoiceObject | None, tools: list[ChatTool], parallel: bool | None
) -> protocol.ToolChoice:
    """Return whether the model may, must or must not call the tools.

    A function that the choice names is called once, unless `parallel` is true.

    Raises
    ------
    InvalidRequest
        The choice names an unknown tool, or requires a call without tools.
    """
    if given is None or isinstance(given, str):
        mode: ToolChoiceMode = given or "auto"
        names, several = None, parallel is not False
    else:
        mode, chosen = _chosen(given)
        names = [_checked(name, tools) for name in chosen]
        several = parallel if parallel is not None else given.type != "function"
    left = left_out_tools(tools)
    if mode == "required" and len(left) == len(tools):
        raise InvalidRequest(
            "'tool_choice' requires a call, but "
            + (f"this server cannot run {', '.join(left)}." if left else "there are no 'tools'."),
            param="tool_choice",
            code="unsupported_tool" if left else None,
        )
    return protocol.ToolChoice(mode=mode, names=names, parallel=several)


def _chosen(given: ToolChoiceObject) -> tuple[Literal["auto", "required"], list[ToolName]]:
    if given.type == "function":
        return "required", [ToolName(given.function, given.name)]
    allowed = given.allowed_tools
    if allowed is not None:
        return allowed.mode, allowed.tools
    if given.mode is None or not given.tools:
        raise InvalidRequest(
            "The request needs 'tool_choice.allowed_tools' with its mode and tools.",
            param="tool_choice.allowed_tools",
            code="missing_parameter",
        )
    return given.mode, given.tools


def _checked(tool: ToolName, tools: list[ChatTool]) -> str:
    name = tool.named
    if name is None or tool.type != "function":
        raise InvalidRequest(
            "'tool_choice' does not name a function: set function.name.", param="tool_choice"
        )
    if name not in [other.function.name for other in tools if other.function is not None]:
        raise InvalidRequest(
            f"'tool_choice' names {name[:200]!r}, which is not a function in 'tools'.",
            param="tool_choice",
        )
    return name
