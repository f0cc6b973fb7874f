"""Functions become tools, and Python calls them as before."""

import pytest

from mlx_notebook.notebook.errors import NotATool
from mlx_notebook.notebook.tools.tool import tool, tools_by_name


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def test_a_tool_is_described_for_the_model_and_called_from_python():
    made = tool(add)
    assert made(1, 2) == 3
    assert (made.__name__, made.__doc__) == ("add", "Add two numbers.")
    function = made.definition["function"]
    assert (function["name"], function["description"]) == ("add", "Add two numbers.")
    assert function["parameters"]["required"] == ["a"]
    assert repr(made) == "<tool add(a, b)>"


def test_a_name_and_a_description_can_be_given():
    made = tool(name="plus", description="Sum.")(add)
    assert made.definition["function"]["name"] == "plus"
    assert made.definition["function"]["description"] == "Sum."


def test_async_functions_are_async_tools():
    async def later() -> str:
        return ""

    assert tool(later).is_async
    assert not tool(add).is_async


def test_functions_tools_and_groups_of_tools_are_collected_by_name():
    def sub(a: int) -> int:
        return a

    assert [*tools_by_name([add, [tool(sub)]])] == ["add", "sub"]
    assert [*tools_by_name(add)] == ["add"]
    assert tools_by_name(()) == {}


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([add, add], "Two tools have the name 'add'"),
        ([3], "3 is neither a function nor a tool"),
        ("add", "'add' is neither a function nor a tool"),
    ],
)
def test_what_cannot_be_a_tool_is_one_sentence(tools, message):
    with pytest.raises(NotATool, match=message):
        tools_by_name(tools)
