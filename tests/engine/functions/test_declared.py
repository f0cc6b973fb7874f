"""Declared functions are read from OpenAI's tools and found by the names that models write."""

from typing import Any

import pytest

from mlx_notebook.engine.functions.declared import DeclaredFunctions, Function, python_name
from mlx_notebook.engine.functions.parse_errors import Malformed

SCHEMA = {"type": "object", "properties": {"b": {}, "a": {}}, "required": ["a"]}
TOOLS = DeclaredFunctions.from_tools(
    [
        {"type": "function", "function": {"name": "get-time", "parameters": SCHEMA}},
        {"type": "function", "name": "now", "strict": True},
    ]
)


def test_both_forms_of_tools_are_read() -> None:
    first, second = TOOLS.functions
    assert (first.name, list(first.properties), first.required) == ("get-time", ["b", "a"], {"a"})
    assert (second.name, second.strict, second.properties) == ("now", True, {})


def test_a_function_is_found_by_its_name_as_a_python_identifier() -> None:
    assert TOOLS.resolve("get_time") is TOOLS.functions[0]
    assert TOOLS.resolve(f"functions.{TOOLS.functions[0].name}") is TOOLS.functions[0]
    assert python_name("2nd try") == "_2nd_try"


def test_a_function_that_is_not_declared_is_malformed() -> None:
    with pytest.raises(Malformed, match="'later', which is not a declared function"):
        TOOLS.resolve("later")
    with pytest.raises(Malformed, match="names no function"):
        TOOLS.resolve("")


def test_without_declarations_every_name_is_accepted() -> None:
    assert DeclaredFunctions().resolve("any") == Function("any")


def test_some_functions_are_selected() -> None:
    assert [function.name for function in TOOLS.select(["now"]).functions] == ["now"]
    with pytest.raises(ValueError, match="'later' is not in tools"):
        TOOLS.select(["later"])


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ({"type": "web_search"}, r"tools\[0\] is not a function with a name"),
        ({"name": "f", "parameters": 3}, "parameters is not a JSON schema"),
        ({"name": "f", "parameters": {"type": "string"}}, "the arguments of a call are an object"),
    ],
)
def test_a_tool_that_is_no_function_is_named(tool: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeclaredFunctions.from_tools([tool])
