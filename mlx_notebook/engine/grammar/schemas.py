"""Prepare JSON schemas for llguidance: check them, and close their objects."""

import json
from collections.abc import Mapping
from typing import Any

from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schema_rewrites import enforceable
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError

MAX_SCHEMA = 250_000
"""Maximum bytes of a schema as JSON. Checking a larger one takes seconds."""

_COMBINING = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties", "if", "not")
_SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMA_LISTS = ("anyOf", "oneOf", "prefixItems")


def check(schema: Any, what: str, param: str) -> None:
    """Check that `schema` is a JSON schema (draft 2020-12) and not too large.

    Raises
    ------
    GrammarError
        If it is not. The message calls the schema `what`.
    """
    # Slow to import.
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError  # type: ignore[import-untyped]

    size = len(json.dumps(schema))
    if size > MAX_SCHEMA:
        raise GrammarError(
            f"The schema of {what} takes {size} bytes, and {MAX_SCHEMA} at most: leave out what "
            "the answer does not need.",
            param,
        )
    try:
        # Patterns are JavaScript's, and not all are Python's. llguidance checks them.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(()))
    except SchemaError as error:
        place = "".join(f"[{part!r}]" for part in error.absolute_path)
        raise GrammarError(
            f"The schema of {what} is not valid{' at ' + place if place else ''}: {error.message}.",
            param,
        ) from error


def is_simple(schema: Any) -> bool:
    """Return whether a schema is cheap to compile: small, without patterns and combinations.

    Such a schema needs no check in the sandbox.
    """
    parts, seen = [schema], 0
    while parts:
        part = parts.pop()
        seen += 1
        if seen > _SIMPLE_PARTS:
            return False
        if isinstance(part, list):
            parts.extend(part)
        elif isinstance(part, Mapping):
            if any(key in part for key in _COSTLY):
                return False
            parts.extend(part.values())
    return True


_SIMPLE_PARTS = 5000
_COSTLY = (
    *("pattern", "multipleOf", "patternProperties", "propertyNames"),
    *("$ref", "$dynamicRef", "allOf", "not", "if", "dependentSchemas"),
)


def close_objects(schema: Any) -> Any:
    """Return `schema` with `additionalProperties: false` where properties are declared.

    By default JSON Schema allows any other property, and a small model would invent keys for ever.
    The result accepts only what the original accepts. Objects that combine schemas are not changed,
    because their properties may be declared elsewhere.
    """
    return schema if _merges(schema) else _close(schema)


def _merges(schema: Any) -> bool:
    """Return whether `schema` combines several schemas with `allOf` anywhere."""
    if isinstance(schema, list):
        return any(_merges(part) for part in schema)
    if not isinstance(schema, Mapping):
        return False
    parts = schema.get("allOf")
    return (isinstance(parts, list) and len(parts) > 1) or any(map(_merges, schema.values()))


def _close(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for key in _SCHEMA_MAPS:
        if isinstance(closed.get(key), Mapping):
            closed[key] = {name: _close(part) for name, part in closed[key].items()}
    for key in _SCHEMA_LISTS:
        if isinstance(closed.get(key), list) and "properties" not in closed:
            closed[key] = [_close(part) for part in closed[key]]
    if isinstance(closed.get("items"), Mapping):
        closed["items"] = _close(closed["items"])
    if isinstance(closed.get("additionalProperties"), Mapping):
        closed["additionalProperties"] = _close(closed["additionalProperties"])
    declares = closed.get("properties") and not any(key in closed for key in _COMBINING)
    if declares and "additionalProperties" not in closed:
        needed = dict.fromkeys(closed.get("required") or (), True)
        closed["properties"] = {**needed, **closed["properties"]}
        closed["additionalProperties"] = False
    return closed


def constrain_arguments(function: Function, rules: LarkRules) -> str:
    """Return a rule for the arguments of `function` as a JSON object."""
    parameters: Any = function.parameters
    if function.strict:
        parameters = enforceable(parameters, close_objects)
    schema = close_objects(parameters)
    schema = {**schema, "type": "object"}
    if not any(key in schema for key in _COMBINING):
        schema.setdefault("additionalProperties", False)
    return rules.json_line(schema, strict=function.strict)
