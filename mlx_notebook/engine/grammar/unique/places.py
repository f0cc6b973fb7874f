"""Find the subschemas that may apply to a place in a JSON value."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schemas = tuple[Mapping[str, Any], ...]
"""The schemas that may apply to a value."""

_SAME_VALUE = ("allOf", "anyOf", "oneOf")
_SAME_VALUE_MAPS = ("dependentSchemas", "dependencies")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", *_SAME_VALUE_MAPS)
_LISTS = (*_SAME_VALUE, "prefixItems")
_SINGLE = (
    *("items", "additionalItems", "additionalProperties", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties"),
)


def subschemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and all schemas in it that may have to hold."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in _MAPS:
        if isinstance(schema.get(key), Mapping):
            for part in schema[key].values():
                yield from subschemas(part)
    for key in _LISTS:
        if isinstance(schema.get(key), list):
            for part in schema[key]:
                yield from subschemas(part)
    for key in _SINGLE:
        yield from subschemas(schema.get(key))


def without_unique_items(schema: Any) -> Any:
    """Return a schema without `uniqueItems` wherever `subschemas` finds it."""
    if not isinstance(schema, Mapping):
        return schema
    made = {key: value for key, value in schema.items() if key != "uniqueItems"}
    for key in _MAPS:
        if isinstance(made.get(key), Mapping):
            made[key] = {name: without_unique_items(part) for name, part in made[key].items()}
    for key in _LISTS:
        if isinstance(made.get(key), list):
            made[key] = [without_unique_items(part) for part in made[key]]
    for key in _SINGLE:
        if key in made:
            made[key] = without_unique_items(made[key])
    return made


class SchemaPlaces:
    """The schemas that may apply to each place of a value.

    They are more than those that do: branches are not told apart. So what one of them demands may
    be enforced where another would not demand it.

    Raises
    ------
    LookupError
        If a reference does not lead to a place in the schema.
    """

    def __init__(self, schema: Any) -> None:
        self._root = schema
        for part in subschemas(schema):
            if "$dynamicRef" in part or "$recursiveRef" in part:
                raise LookupError("$dynamicRef")
            if "$ref" in part:
                self._target(part["$ref"])
        self._found: dict[tuple[tuple[int, ...], str | int], Schemas] = {}
        self.root = self._applying([schema])

    def of_property(self, schemas: Schemas, name: str) -> Schemas:
        """Return the schemas of a property of an object."""
        return self._inside(schemas, name)

    def of_item(self, schemas: Schemas, index: int) -> Schemas:
        """Return the schemas of an item of an array."""
        return self._inside(schemas, index)

    def _inside(self, schemas: Schemas, place: str | int) -> Schemas:
        if not schemas:
            return ()
        key = tuple(map(id, schemas)), place
        if key not in self._found:
            found = _property if isinstance(place, str) else _item
            self._found[key] = self._applying(
                [part for schema in schemas for part in found(schema, place)]  # type: ignore[arg-type]
            )
        return self._found[key]

    def _applying(self, waiting: list[Any]) -> Schemas:
        """Return the schemas and those that they combine, which apply to the same value."""
        found: dict[int, Mapping[str, Any]] = {}
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, Mapping) or id(schema) in found:
                continue
            found[id(schema)] = schema
            if "$ref" in schema:
                waiting.append(self._target(schema["$ref"]))
            for key in _SAME_VALUE:
                waiting.extend(schema.get(key) or ())
            for key in _SAME_VALUE_MAPS:
                waiting.extend((schema.get(key) or {}).values())
            waiting.extend((schema.get("then"), schema.get("else")))
        return tuple(found.values())

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise LookupError(reference)
        found = self._root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found[int(name) if isinstance(found, list) else name]
        if reference[1:2] not in ("", "/"):
            raise LookupError(reference)
        return found


def are_any_texts(schemas: Schemas) -> bool:
    """Whether these schemas together accept every text, and nothing else."""
    return any(one.get("type") == "string" for one in schemas) and all(
        set(one) <= _OF_ANY_TEXT and one.get("type", "string") == "string" for one in schemas
    )


_OF_ANY_TEXT = {"type", "$ref", "title", "description", "default", "examples", "$comment"}


def _property(schema: Mapping[str, Any], name: str) -> list[Any]:
    found = []
    if name in (schema.get("properties") or {}):
        found.append(schema["properties"][name])
    for pattern, part in (schema.get("patternProperties") or {}).items():
        if _may_match(pattern, name):
            found.append(part)
    if not found:
        found.append(schema.get("additionalProperties"))
    return [*found, schema.get("unevaluatedProperties")]


def _may_match(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # another notation of patterns than Python's
        return True


def _item(schema: Mapping[str, Any], index: int) -> list[Any]:
    first, rest = schema.get("prefixItems") or (), schema.get("items")
    if isinstance(rest, list):
        first, rest = rest, schema.get("additionalItems")
    return [first[index] if index < len(first) else rest, schema.get("unevaluatedItems")]
