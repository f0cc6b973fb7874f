"""`@tool`: functions of the notebook that a model may call."""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, overload

from mlx_notebook.notebook.errors import NotATool
from mlx_notebook.notebook.schemas.function_schema import describe

Tools = Iterable["Tool | Callable[..., Any] | Iterable[Tool]"]


class Tool(ABC):
    """Something that a model may call.

    Attributes
    ----------
    name, description, parameters
        What the model is told; `parameters` is a JSON schema.
    is_async
        Whether calls are awaited: several of those that a model asks for at once run together.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    is_async: bool

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as the chat completions endpoint takes it."""
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": {**function, "parameters": self.parameters}}

    @abstractmethod
    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments (JSON, or the decoded object) and give the call to be made.

        Raises `BadArguments` if they do not fit.
        """


class FunctionTool(Tool):
    """A Python function that a model may call; called from Python it is the function itself.

    Made by `tool`. Raises `NotATool` if the function cannot be described.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        self._described = describe(function, name, description)
        self._function = function
        functools.update_wrapper(self, function)
        self.name = self._described.name
        self.description = self._described.description
        self.parameters = self._described.parameters
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function))

    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments and give the call to be made, with real Python objects."""
        return self._described.bind(arguments)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as if it were no tool."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.name}({', '.join(self.parameters['properties'])})>"


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[..., Any]], FunctionTool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Let a model call a function: `@tool`, or `@tool(name=..., description=...)`.

    The model is told the function's name, what its docstring says of it and of its parameters
    (in the styles of numpy, Google and Sphinx), and its types as a JSON schema. A type can be
    whatever pydantic reads: `Literal`, enums, unions, dataclasses, models, dates, lists of those;
    `Annotated[float, "in metres"]` and pydantic's `Field` describe a parameter where it stands.
    Arguments are validated and turned into these types before the function is called. The
    function may be `async`, and can be called from Python as before.

    Raises
    ------
    NotATool
        If there is no telling what the function takes.
    """
    if function is not None:
        return FunctionTool(function)
    return lambda function: FunctionTool(function, name, description)


def tools_by_name(tools: Tools) -> dict[str, Tool]:
    """Make a tool of everything in `tools`, by name.

    Plain functions are described as `tool` would; what holds tools, such as an MCP server, gives
    all of them.

    Raises
    ------
    NotATool
        If one cannot be a tool, or two have the same name.
    """
    box: dict[str, Tool] = {}
    for one in _each(tools):
        if one.name in box:
            raise NotATool(
                f"Two tools have the name {one.name!r}: give one another with @tool(name=...)."
            )
        box[one.name] = one
    return box


def _each(tools: Any) -> Iterable[Tool]:
    if isinstance(tools, Tool):
        yield tools
    elif isinstance(tools, Iterable) and not isinstance(tools, str | bytes | dict):
        for one in tools:
            yield from _each(one)
    elif callable(tools):
        yield FunctionTool(tools)
    else:
        raise NotATool(f"{tools!r} is neither a function nor a tool.")
