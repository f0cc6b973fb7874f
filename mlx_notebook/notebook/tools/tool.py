"""`@tool`: functions of the notebook that a model can call."""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, overload

from mlx_notebook.notebook.errors import NotATool
from mlx_notebook.notebook.schemas.function_schema import describe_function

Tools = Iterable["Tool | Callable[..., Any] | Iterable[Tool]"]


class Tool(ABC):
    """Something that a model can call.

    Attributes
    ----------
    name, description
        What the model gets.
    parameters
        The parameters as a JSON schema, which the model gets too.
    is_async
        Whether calls are awaited. Several async calls of one reply run together.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    is_async: bool

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as an entry of the `tools` parameter of chat completions."""
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": {**function, "parameters": self.parameters}}

    @abstractmethod
    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments (JSON text, or the decoded object) and return the call to make.

        Raises
        ------
        BadArguments
            If they do not fit.
        """


class FunctionTool(Tool):
    """A Python function that a model can call; `tool` returns it. Python code calls it as before.

    Raises
    ------
    NotATool
        If the function cannot be described.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        self._described = describe_function(function, name, description)
        self._function = function
        functools.update_wrapper(self, function)
        self.name = self._described.name
        self.description = self._described.description
        self.parameters = self._described.parameters
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function))

    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments and return the call to make, with Python objects as arguments."""
        return self._described.bind(arguments)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
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
    """Make a function a tool: `@tool`, or `@tool(name=..., description=...)`.

    The model gets three things: the function's name; the descriptions of the function and its
    parameters in the docstring (in the style of numpy, Google or Sphinx); and the types, as a JSON
    schema. A type can be anything that pydantic reads: `Literal`, enums, unions, dataclasses,
    models, dates, and lists of those. `Annotated[float, "in metres"]` and pydantic's `Field`
    describe a parameter. Arguments are validated and converted to these types before the function
    is called. The function may be `async`. Python code can call it as before.

    Parameters
    ----------
    function
        The function.
    name
        Name for the model, in place of the function's own.
    description
        Description for the model, in place of the docstring.

    Returns
    -------
    FunctionTool
        The tool; without `function`, a decorator that returns it.

    Raises
    ------
    NotATool
        If a parameter cannot be described, for example because it has no type.

    Examples
    --------
    >>> @tool
    ... def add(a: int, b: int) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> Chat(tools=[add]).ask("What is 17 plus 25?")
    """
    if function is not None:
        return FunctionTool(function)
    return lambda function: FunctionTool(function, name, description)


def tools_by_name(tools: Tools) -> dict[str, Tool]:
    """Make everything in `tools` a tool; return the tools by name.

    Plain functions are described as `tool` describes them. An MCP server stands for all its tools.

    Raises
    ------
    NotATool
        If something cannot be a tool, or two tools have the same name.
    """
    by_name: dict[str, Tool] = {}
    for one in _each(tools):
        if one.name in by_name:
            raise NotATool(
                f"Two tools have the name {one.name!r}: give one another with @tool(name=...)."
            )
        by_name[one.name] = one
    return by_name


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
