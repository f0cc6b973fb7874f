"""A function's signature and docstring become a schema, and a model's JSON a Python call."""

import datetime
import enum
import functools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from mlx_notebook.notebook.errors import BadArguments, NotATool
from mlx_notebook.notebook.schemas.function_schema import describe_function


class Unit(enum.Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


@dataclass
class Point:
    x: int
    y: float = 0


class Person(BaseModel):
    name: str = Field(description="How they are called.")
    born: datetime.date | None = None


class Node(BaseModel):
    value: int
    next: "Node | None" = None


def numpy_style(a: int, b: int) -> int:
    """Add numbers.

    Any two.

    Parameters
    ----------
    a : int
        The first
        of them.
    b
        The second.

    Returns
    -------
    int
        The sum.
    """
    return a + b


def google_style(a: int, b: int) -> int:
    """Add numbers.

    Any two.

    Args:
        a (int): The first
            of them.
        b: The second.

    Returns:
        The sum.
    """
    return a + b


def sphinx_style(a: int, b: int) -> int:
    """Add numbers.

    Any two.

    :param a: The first of them.
    :param b: The second.
    :returns: The sum.
    """
    return a + b


@pytest.mark.parametrize("function", [numpy_style, google_style, sphinx_style])
def test_docstrings_of_three_styles_describe_the_parameters(function):
    described = describe_function(function)
    assert described.description == "Add numbers.\n\nAny two."
    assert described.parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "The first of them."},
            "b": {"type": "integer", "description": "The second."},
        },
        "required": ["a", "b"],
    }
    assert described.bind('{"a": 2, "b": 3}')() == 5


def test_a_plain_docstring_is_the_description():
    def now():
        """What time it is.

        In the zone of: this machine.
        """

    described = describe_function(now)
    assert described.description == "What time it is.\n\nIn the zone of: this machine."
    assert described.parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("kind", "schema", "given", "value"),
    [
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "b", "b"),
        (
            Unit,
            {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "celsius",
            Unit.CELSIUS,
        ),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x", "x"),
        (list[int], {"type": "array", "items": {"type": "integer"}}, [1, 2], [1, 2]),
        (
            dict[str, float],
            {"type": "object", "additionalProperties": {"type": "number"}},
            {"a": 1},
            {"a": 1.0},
        ),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
            [1, "a"],
            (1, "a"),
        ),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "number", "default": 0}},
                "required": ["x"],
                "additionalProperties": False,
            },
            {"x": 1},
            Point(1, 0),
        ),
        (
            Person,
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "How they are called."},
                    "born": {"type": "string", "format": "date"},
                },
                "required": ["name"],
            },
            {"name": "Ada", "born": "1815-12-10"},
            Person(name="Ada", born=datetime.date(1815, 12, 10)),
        ),
        (
            datetime.datetime,
            {"type": "string", "format": "date-time"},
            "2026-01-02T03:04:05",
            datetime.datetime(2026, 1, 2, 3, 4, 5),
        ),
        (Annotated[int, "of them"], {"type": "integer", "description": "of them"}, 3, 3),
        (
            Annotated[int, Field(ge=1, description="how many")],
            {"type": "integer", "description": "how many", "minimum": 1},
            3,
            3,
        ),
        (
            "list[Person]",
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "description": "How they are called."},
                        "born": {"type": "string", "format": "date"},
                    },
                    "required": ["name"],
                },
            },
            [{"name": "Ada"}],
            [Person(name="Ada")],
        ),
    ],
)
def test_types_become_schemas_and_json_becomes_their_objects(kind, schema, given, value):
    def take(x):
        return x

    take.__annotations__["x"] = kind
    described = describe_function(take)
    assert described.parameters["properties"]["x"] == schema
    assert described.bind({"x": given})() == value


def test_what_may_be_left_out_has_its_default_from_the_function():
    marker = object()

    def take(
        a: int | None = None, b: "int | None" = 3, *, c: int = Field(4, ge=1), d: str = marker
    ):
        return a, b, c, d

    described = describe_function(take)
    assert "required" not in described.parameters
    assert described.parameters["properties"]["a"] == {"type": "integer"}
    assert described.parameters["properties"]["c"] == {
        "type": "integer",
        "default": 4,
        "minimum": 1,
    }
    assert described.bind("")() == (None, 3, 4, marker)
    assert described.bind({"a": None, "b": None, "c": 9})() == (None, None, 9, marker)


def test_a_type_that_refers_to_itself_keeps_its_reference():
    def take(node: Node):
        return node.next.value

    described = describe_function(take)
    assert described.parameters["properties"]["node"] == {"$ref": "#/$defs/Node"}
    assert described.parameters["$defs"]["Node"]["properties"]["next"] == {"$ref": "#/$defs/Node"}
    assert described.bind({"node": {"value": 1, "next": {"value": 2}}})() == 2


def test_names_that_pydantic_keeps_for_itself_are_ordinary_here():
    def take(schema: int, copy: int, model_config: int, _hidden: int, title: str, /, json: int):
        return schema, copy, model_config, _hidden, title, json

    arguments = {"schema": 1, "copy": 2, "model_config": 3, "_hidden": 4, "title": "5", "json": 6}
    described = describe_function(take)
    assert list(described.parameters["properties"]) == list(arguments)
    assert described.bind(arguments)() == (1, 2, 3, 4, "5", 6)


def test_defaults_and_docstrings_tell_types_where_the_signature_does_not():
    def take(a, b=2.5):
        """Take.

        Args:
            a (str): Something.
        """

    properties = describe_function(take).parameters["properties"]
    assert properties["a"] == {"type": "string", "description": "Something."}
    assert properties["b"] == {"type": "number", "default": 2.5}


def test_methods_partials_and_callable_objects_are_functions_too():
    class Counter:
        def add(self, n: int) -> int:
            """Add to it."""
            return n + 1

        def __call__(self, n: int) -> int:
            """Count."""
            return n

    assert describe_function(Counter().add).bind({"n": 1})() == 2
    assert describe_function(Counter()).description == "Count."
    assert describe_function(Counter()).name == "Counter"
    partial = functools.partial(numpy_style, b=10)
    assert describe_function(partial).name == "numpy_style"
    assert describe_function(partial).bind({"a": 1})() == 11


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{"a": "many", "b": 1}', "a: Input should be a valid integer"),
        ('{"a": 1}', "b: it is missing."),
        ('{"a": 1, "b": 2, "c": 3}', "c: there is no such argument. The arguments are: a, b."),
        ('{"a": 1', "The arguments are not valid JSON"),
        ("[1, 2]", "The arguments must be a JSON object."),
        ('{"a": "' + "x" * 500 + '", "b": 1}', "…"),
    ],
)
def test_bad_arguments_are_told_so_that_they_can_be_mended(arguments, said):
    with pytest.raises(BadArguments) as caught:
        describe_function(numpy_style).bind(arguments)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_mistake_inside_an_object_is_told_with_its_path():
    def take(people: list[Person]):
        pass

    with pytest.raises(BadArguments, match=r"people\.1\.name: it is missing\."):
        describe_function(take).bind({"people": [{"name": "Ada"}, {}]})


def star(*numbers: int): ...
def stars(**options: int): ...
def bare(x): ...
def alien(x: memoryview): ...
def über(x: int): ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (star, "Name each parameter"),
        (stars, "Name each parameter"),
        (bare, "give x a type"),
        (alien, "x takes memoryview, which cannot be made from JSON"),
        (über, "cannot name a tool"),
        (lambda: 1, r'with @tool\(name="..."\)'),
        (math.sqrt, "give x a type"),
        (dict, "cannot be a tool"),
    ],
)
def test_what_cannot_be_described_is_refused_in_one_sentence(function, said):
    with pytest.raises(NotATool, match=said) as caught:
        describe_function(function)
    assert "\n" not in str(caught.value)


def test_a_type_that_is_not_there_is_named():
    def take(x): ...

    take.__annotations__["x"] = "Nothing"
    with pytest.raises(NotATool, match="name 'Nothing' is not defined"):
        describe_function(take)
