"""Tell whether two JSON schemas exclude each other: no value fulfils both.

The answer "no" may be wrong, "yes" never is.
"""

import json
from collections.abc import Mapping
from typing import Any

_TYPES = frozenset({"object", "array", "string", "number", "boolean", "null"})
_DEPTH = 8


def exclude(one: Any, other: Any, root: Any) -> bool:
    """Return whether no value fulfils both schemas.

    Parameters
    ----------
    root
        The whole schema, for references inside it.
    """
    return _exclude(one, other, root, _DEPTH)


def resolve(schema: Any, root: Any) -> Any:
    """Return the schema that a `$ref` without other keywords leads to, else the schema itself."""
    for _ in range(_DEPTH):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return schema
        place = schema["$ref"]
        if not isinstance(place, str) or not place.startswith("#"):
            return schema
        found = root
        for part in place[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                return schema
            found = found[name]
        # Keywords beside it hold too. Without them it accepts more, so the answer stays right.
        schema = found
    return schema


def values_of(schema: Any) -> list[Any] | None:
    """Return the values that `const` or `enum` allows; None if the schema has neither."""
    if not isinstance(schema, Mapping):
        return None
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return list(values) if isinstance(values, list) else None


def types_of(schema: Any) -> frozenset[str]:
    """Return the types of values that a schema may accept; an integer is a number."""
    if schema is False:
        return frozenset()
    if not isinstance(schema, Mapping):
        return _TYPES
    values = values_of(schema)
    if values is not None:
        return frozenset(map(_type_of, values))
    given = schema.get("type")
    names = [given] if isinstance(given, str) else given if isinstance(given, list) else _TYPES
    return frozenset("number" if name == "integer" else name for name in names)


def _exclude(one: Any, other: Any, root: Any, depth: int) -> bool:
    if depth == 0:
        return False
    one, other = resolve(one, root), resolve(other, root)
    if not types_of(one) & types_of(other):
        return True
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    values, others = values_of(one), values_of(other)
    if values is not None and others is not None:
        return not {_key(value) for value in values} & {_key(value) for value in others}
    for key in ("anyOf", "oneOf"):
        for first, second in ((one, other), (other, one)):
            branches = first.get(key)
            if isinstance(branches, list) and all(
                _exclude(branch, second, root, depth - 1) for branch in branches
            ):
                return True
    if types_of(one) & types_of(other) == {"array"}:
        # Without items an array may fulfil both.
        least = max(one.get("minItems", 0), other.get("minItems", 0))
        return least > 0 and _exclude(_first(one), _first(other), root, depth - 1)
    if types_of(one) & types_of(other) != {"object"}:
        return False
    return _objects_exclude(one, other, root, depth) or _objects_exclude(other, one, root, depth)


def _objects_exclude(
    one: Mapping[str, Any], other: Mapping[str, Any], root: Any, depth: int
) -> bool:
    """Whether a property that `one` requires cannot be in an object of `other`."""
    for name in one.get("required") or ():
        mine, theirs = _property(one, name), _property(other, name)
        # Where the other may leave the property out, its objects without it do not fulfil `one`.
        if _exclude(mine, theirs, root, depth - 1):
            return True
    return False


def _first(schema: Mapping[str, Any]) -> Any:
    """Return what an array schema says of the first item."""
    first = schema.get("prefixItems") or (schema.get("items", True),)
    return True if isinstance(first[0], list) else first[0]


def _property(schema: Mapping[str, Any], name: str) -> Any:
    """Return what an object schema says of a property; True if it says nothing."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return properties[name]
    if schema.get("patternProperties"):
        return True
    return schema.get("additionalProperties", True)


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _key(value: Any) -> str:
    # In JSON 1 and 1.0 are the same number.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)
