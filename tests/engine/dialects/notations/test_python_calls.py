"""Calls in Python are read and written with literals as arguments."""

import json
from typing import Any

import pytest

from mlx_notebook.engine.dialects.notations import python_calls
from mlx_notebook.engine.dialects.output_events import CallEnd
from mlx_notebook.engine.functions.parse_errors import Malformed
from tests.engine.dialects.test_text_source import parse


def call(text: str, **options: Any) -> tuple[str, Any]:
    def parser(source: Any) -> Any:
        yield from python_calls.call(source, **options)
        source.end()

    end = parse(parser, text)[1].events[-1]
    assert isinstance(end, CallEnd)
    return end.call.name, json.loads(end.call.arguments)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("f()", {}),
        ("f(a=1, b='x, (y)', c=[1, {'d': None}])", {"a": 1, "b": "x, (y)", "c": [1, {"d": None}]}),
        ('f(a="""two\nlines""", b=(True, false))', {"a": "two\nlines", "b": [True, False]}),
        (r"f(a='it\'s', b=-1.5)", {"a": "it's", "b": -1.5}),
    ],
)
def test_arguments_are_literals(text: str, arguments: dict[str, Any]) -> None:
    assert call(text) == ("f", arguments)


def test_a_prefix_of_the_name_is_dropped() -> None:
    assert call("tools.f(a=1)", prefixes=("tools.",)) == ("f", {"a": 1})


def test_words_without_quotation_marks_may_be_strings() -> None:
    assert call("f(a=Oslo)", bare=True) == ("f", {"a": "Oslo"})
    with pytest.raises(Malformed, match="'Oslo' is not a Python literal"):
        call("f(a=Oslo)")


@pytest.mark.parametrize("text", ["f(a=g())", "f(**x)", "f(a=1, a=2)", "f(1)", "1 + (2)"])
def test_other_expressions_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        call(text)


def test_a_written_call_is_read_again() -> None:
    arguments = {"a": "x\"'\n", "b": [True, None, 1.5], "c": {"d": {}}}
    text = python_calls.write_call("f", json.dumps(arguments))
    assert call(text) == ("f", arguments)
