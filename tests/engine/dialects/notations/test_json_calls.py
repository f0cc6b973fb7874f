"""Calls in JSON are read in every form that models write."""

import json
from typing import Any

import pytest

from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.output_events import CallEnd
from mlx_notebook.engine.functions.parse_errors import Malformed, Truncated
from tests.engine.dialects.test_text_source import parse

ARGUMENTS = {"city": 'Zürich "\\{', "days": [1, {"a": None}]}


def call(text: str) -> tuple[str, Any]:
    def parser(source: Any) -> Any:
        yield from json_calls.call(source)
        source.end()

    events = parse(parser, text)[1].events
    end = events[-1]
    assert isinstance(end, CallEnd)
    return end.call.name, json.loads(end.call.arguments)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"name": "f", "arguments": ARGUMENTS}),
        json.dumps({"parameters": ARGUMENTS, "tool_name": "f"}, ensure_ascii=False),
        json.dumps({"type": "function", "function": {"name": "f", "arguments": ARGUMENTS}}),
        json.dumps({"name": "f", "arguments": json.dumps(ARGUMENTS)}),
        json.dumps({"id": [1], "name": "f", "extra": {"b": 2}, "arguments": ARGUMENTS}),
    ],
)
def test_a_call_object_is_read_in_any_form(text: str) -> None:
    assert call(text) == ("f", ARGUMENTS)


def test_missing_arguments_are_none() -> None:
    assert call('{"name": "f"}') == ("f", {})
    assert call('{"name": "f", "arguments": null}') == ("f", {})


def test_a_python_dictionary_is_accepted() -> None:
    text = """{"name": "f", "arguments": {'a': True, 'b': None}}"""
    events = parse(json_calls.call, [text])[1].events
    assert "true" in str(events)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"arguments": {}}', Malformed),
        ('{"name": "f", "arguments": [1]}', Malformed),
        ('{"name": "f", "arguments": {"a": 1', Truncated),
        ('{"name": "f", "arguments": ', Truncated),
    ],
)
def test_what_is_no_call_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(text)
