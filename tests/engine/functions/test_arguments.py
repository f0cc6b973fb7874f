"""Values from a model's text: the types of the schema, and nothing that runs."""

import json
from typing import Any

import pytest

from mlx_notebook.engine.functions.arguments import (
    conform,
    dumps,
    from_text,
    python_literal,
    types_of,
)
from mlx_notebook.engine.functions.parse_errors import Malformed


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("02134", {"type": "string"}, "02134"),
        ("null", {"type": "string"}, "null"),
        ("null", {"type": ["string", "null"]}, None),
        ("12", {"type": ["string", "integer"]}, 12),
        ("12", {"enum": ["12", "13"]}, "12"),
        ("3.0", {"type": "integer"}, 3),
        ("3.5", {"type": "integer"}, 3.5),
        ("1e3", {"type": "number"}, 1000.0),
        ("false", {"type": "boolean"}, False),
        ("False", {"type": "boolean"}, False),
        ("maybe", {"type": "boolean"}, "maybe"),
        ("[1, 2", {"type": "array"}, "[1, 2"),
        ("{'a': 1}", {"type": "object"}, {"a": 1}),
        ("text", {}, "text"),
        ("[1]", {}, [1]),
        ("NaN", {"type": "number"}, "NaN"),
    ],
)
def test_bare_text_takes_the_type_that_the_schema_names(
    text: str, schema: dict[str, Any], value: Any
) -> None:
    found = from_text(text, schema, schema)
    assert (found, type(found)) == (value, type(value))


def test_nested_values_conform_too() -> None:
    schema = {
        "type": "object",
        "properties": {"zip": {"type": "string"}, "n": {"type": "integer"}},
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    }
    value = {"zip": 2134, "n": "3", "more": [1, "b"]}
    assert conform(value, schema, schema) == {"zip": "2134", "n": 3, "more": ["1", "b"]}


def test_json_is_written_as_plain_text_unless_utf_8_cannot_carry_it() -> None:
    assert dumps({"ü": "😀"}) == '{"ü": "😀"}'
    assert json.loads(dumps("\ud800")) == "\ud800"
    assert dumps("\ud800").isascii()


@pytest.mark.parametrize("text", ["__import__('os')", "1 + 1", "x", "[x for x in y]", "(", "b'x'"])
def test_python_that_is_no_literal_is_never_run(text: str) -> None:
    with pytest.raises(Malformed):
        python_literal(text)


def test_schemas_that_refer_to_themselves_have_types_in_the_end() -> None:
    schema: dict[str, Any] = {"$defs": {}}
    for level in range(60):
        target = {"$ref": f"#/$defs/d{level + 1}"}
        schema["$defs"][f"d{level}"] = {"anyOf": [target] * 4}
    schema["$defs"]["d60"] = {"type": "string"}
    schema["$defs"]["loop"] = {"allOf": [{"$ref": "#/$defs/loop"}, {"type": "integer"}]}
    assert types_of({"$ref": "#/$defs/d0"}, schema) == frozenset()
    assert types_of({"$ref": "#/$defs/loop"}, schema) == frozenset()
    assert types_of({"$ref": "#/$defs/d58"}, schema) == {"string"}
