"""The inspector checks the arguments of tool calls by the schemas of their tools."""

import pytest

from mlx_notebook.panels.inspector.inspector_panel import faults


def tool(parameters):
    return {"type": "function", "function": {"name": "add", "parameters": parameters}}


ADD = tool({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("add", '{"a": 1}'), []),
        (("add", '{"a": "x"}'), ["a: 'x' is not of type 'integer'"]),
        (("add", ""), ["arguments: 'a' is a required property"]),
        (("sub", "{}"), ["no tool 'sub' was offered"]),
    ],
)
def test_arguments_are_checked(call, expected):
    name, arguments = call
    assert faults({"name": name, "arguments": arguments}, [ADD]) == expected


def test_arguments_that_are_no_json_and_schemas_that_are_none_are_told():
    (fault,) = faults({"name": "add", "arguments": "{"}, [ADD])
    assert fault.startswith("the arguments are not JSON: ")
    (fault,) = faults({"name": "add", "arguments": "{}"}, [tool({"type": "number of things"})])
    assert fault == "the tool's schema is not valid: unknown type 'number of things'"
