"""Take JSON schemas of objects apart, and put them together."""

from collections.abc import Mapping
from typing import Any

from mlx_notebook.engine.grammar.schema_exclusion import types_of, values_of

Schema = dict[str, Any]

AT_ROOT = ("$schema", "$id", "$defs", "definitions")
"""What stays where it is: other parts refer to it."""

COMMENTS = ("title", "description", "$comment", "default", "examples")
"""What says nothing of values."""

MOST_VARIANTS = 64
"""Most variants that one part of a schema becomes."""


def any_of(part: Schema, variants: list[Schema]) -> Schema:
    """Return a choice among variants of a part; what other parts refer to stays in its place."""
    kept = {key: part[key] for key in AT_ROOT if key in part}
    return {
        **kept,
        "anyOf": [{k: v for k, v in variant.items() if k not in AT_ROOT} for variant in variants],
    }


def both_of(one: Any, other: Any) -> Any:
    """Return a schema for what fulfils both; None if it cannot be written simply."""
    if one is True or one == {}:
        return other
    if other is True or other == {} or one == other:
        return one
    if one is False or other is False:
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        values, others = values_of(one), values_of(other)
        simple = {"const", "enum", "type"}
        if values is not None and others is not None and set(one) | set(other) <= simple:
            return {"enum": [value for value in values if is_in(value, others)]}
        if all(one[key] == other[key] for key in one if key in other):
            return {**one, **other}
    return None


def declared(part: Schema, name: str) -> Any:
    """Return the schema of a property, False if it is forbidden, None if that is not clear."""
    if name in part.get("properties", {}):
        return part["properties"][name]
    return part.get("additionalProperties", True)


def without(part: Schema, name: str) -> Schema | None:
    """Return the objects without a property. None if it is required."""
    return None if name in (part.get("required") or ()) else with_property(part, name, False)


def with_required(part: Schema, names: list[str]) -> Schema:
    """Return the objects with properties."""
    required = list(part.get("required") or ())
    return {**part, "required": [*required, *(name for name in names if name not in required)]}


def with_property(part: Schema, name: str, schema: Any) -> Schema:
    """Return an object schema that says of a property what `schema` says."""
    return {**part, "properties": {**part.get("properties", {}), name: schema}}


def only_required(branch: Any) -> list[str] | None:
    """Return the names that a branch requires, if it says nothing else."""
    if not isinstance(branch, Mapping) or not set(branch) <= {"required", "type", *COMMENTS}:
        return None
    names = branch.get("required")
    return list(names) if names and branch.get("type", "object") == "object" else None


def is_plain_object(part: Schema) -> bool:
    """Whether a schema is for objects alone, and declares their properties itself."""
    return types_of(part) == {"object"} and not part.get("patternProperties") and "$ref" not in part


def is_in(value: Any, values: list[Any]) -> bool:
    """Whether a list has a value, as JSON compares them: true is not 1."""
    return any(_equals(value, other) for other in values)


def _equals(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
