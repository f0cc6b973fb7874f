"""The tools of `v1/messages`, and whether the model must call one.

Format: https://docs.anthropic.com/en/api/messages.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mlx_notebook.protocol import ToolChoice
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.decode import converted
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter


class ToolParam(Struct):
    """A tool that the model may call and the client runs."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    input_schema: dict[str, Any]
    description: str | None = None
    input_examples: list[dict[str, Any]] | None = None
    strict: bool | None = None
    type: Literal["custom"] | None = None
    allowed_callers: list[str] | None = None

    def for_template(self) -> dict[str, Any]:
        """Return the tool as chat templates expect it."""
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        function["parameters"] = self.input_schema
        if self.input_examples:
            function["parameters"] = {**self.input_schema, "examples": self.input_examples}
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}


class ToolChoiceOptions(Struct, kw_only=True):
    """Base class of `tool_choice`. A named tool is called once unless the field is false."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceAuto(ToolChoiceOptions, tag_field="type", tag="auto"):
    """The model may call tools."""


class ToolChoiceAny(ToolChoiceOptions, tag_field="type", tag="any"):
    """The model must call a tool."""


class ToolChoiceTool(ToolChoiceOptions, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: str


class ToolChoiceNone(Struct, tag_field="type", tag="none"):
    """The model must not call a tool."""


# `own_tools` validates it and reports errors.
AnyTool = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={
            "anyOf": [
                {
                    "properties": {
                        "type": {"enum": ["custom", None]},
                        "name": {"type": "string", "minLength": 1, "maxLength": 128},
                        "input_schema": {"type": "object"},
                    },
                    "required": ["name", "input_schema"],
                },
                # Left out of the prompt.
                {
                    "properties": {"type": {"type": "string", "pattern": "^[a-z_]+_[0-9]{8}$"}},
                    "required": ["type"],
                },
            ]
        }
    ),
]


def _defined_by_anthropic(tool: dict[str, Any]) -> bool:
    kind = tool.get("type") or "custom"
    return isinstance(kind, str) and kind != "custom"


def own_tools(given: Sequence[dict[str, Any]]) -> list[ToolParam]:
    """Return the tools that the model may call, without those that Anthropic defines.

    Raises
    ------
    InvalidRequest
        A tool is not valid, or two have the same name.
    """
    tools: list[ToolParam] = []
    for index, one in enumerate(given):
        path = f"tools[{index}]"
        if _defined_by_anthropic(one):
            continue
        if one.get("defer_loading"):
            raise unsupported_parameter(f"{path}.defer_loading")
        tool = converted(one, ToolParam, path)
        if tool.allowed_callers and "direct" not in tool.allowed_callers:
            # Only code that Anthropic's server runs could call it.
            raise unsupported_parameter(f"{path}.allowed_callers", "add 'direct'")
        if any(tool.name == other.name for other in tools):
            raise InvalidRequest(f"Two tools have the name {tool.name!r}.", param=f"{path}.name")
        tools.append(tool)
    return tools


def left_out_tools(given: Sequence[dict[str, Any]]) -> list[str]:
    """Return the places and types of the tools that Anthropic defines."""
    return [
        f"tools[{index}]:{one['type'][:100]}"
        for index, one in enumerate(given)
        if _defined_by_anthropic(one)
    ]


def checked_choice(
    choice: ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone | None,
    given: Sequence[dict[str, Any]],
) -> ToolChoice:
    """Return whether the model may, must or must not call tools.

    Raises
    ------
    InvalidRequest
        The choice names an unknown tool, or requires a call without tools.
    """
    names = [tool.name for tool in own_tools(given)]
    if isinstance(choice, ToolChoiceNone):
        return ToolChoice(mode="none")
    if choice is None or isinstance(choice, ToolChoiceAuto):
        return ToolChoice(parallel=not (choice and choice.disable_parallel_tool_use))
    parallel = not choice.disable_parallel_tool_use
    if not names:
        left = ", ".join(left_out_tools(given))
        raise InvalidRequest(
            "'tool_choice' requires a call, but "
            + (f"this server does not have {left}." if left else "there are no 'tools'."),
            param="tool_choice",
            code="unsupported_tool" if left else None,
        )
    if isinstance(choice, ToolChoiceAny):
        return ToolChoice(mode="required", parallel=parallel)
    if choice.name in [tool.get("name") for tool in given if _defined_by_anthropic(tool)]:
        raise InvalidRequest(
            f"'tool_choice' names {choice.name[:200]!r}, which Anthropic defines and this "
            "server does not have: give it an 'input_schema' and no 'type'.",
            param="tool_choice.name",
            code="unsupported_tool",
        )
    if choice.name not in names:
        raise InvalidRequest(
            f"'tool_choice' names {choice.name[:200]!r}, which is not in 'tools'.",
            param="tool_choice.name",
        )
    several = choice.disable_parallel_tool_use is False
    return ToolChoice(mode="required", names=[choice.name], parallel=several)
