"""JSON schemas are checked, and closed where their author meant no other properties."""

from typing import Any

import pytest

from mlx_notebook.engine.grammar.schemas import MAX_SCHEMA, check, close_objects, is_simple
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError

OPEN: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_a_schema_that_is_not_valid_is_refused_with_its_place() -> None:
    with pytest.raises(GrammarError, match=r"The schema of it is not valid at \['properties'\]"):
        check({"properties": {"a": {"type": "text"}}}, "it", "tools")


def test_a_schema_that_is_too_large_is_refused() -> None:
    with pytest.raises(GrammarError, match="at most: leave out") as caught:
        check({"description": "x" * MAX_SCHEMA}, "it", "tools")
    assert caught.value.param == "tools"


def test_objects_with_declared_properties_are_closed_at_any_depth() -> None:
    schema = {"type": "array", "items": {"anyOf": [OPEN, {"type": "object"}]}, "$defs": {"o": OPEN}}
    closed = close_objects(schema)
    assert closed["items"]["anyOf"][0]["additionalProperties"] is False
    assert "additionalProperties" not in closed["items"]["anyOf"][1]
    assert closed["$defs"]["o"]["additionalProperties"] is False
    assert "additionalProperties" not in OPEN


def test_objects_that_are_open_on_purpose_or_combined_are_not_changed() -> None:
    on_purpose = {**OPEN, "additionalProperties": True}
    assert close_objects(on_purpose) == on_purpose
    combined = {"allOf": [OPEN, {"properties": {"b": {}}}]}
    assert close_objects(combined) == combined


def test_a_schema_without_patterns_and_references_is_simple() -> None:
    assert is_simple(OPEN)
    assert not is_simple({"items": [{"pattern": "a*"}]})
    assert not is_simple({"$ref": "#/$defs/x"})
    assert not is_simple({"enum": list(range(6000))})
