"""Rewrite keywords of JSON schemas that llguidance does not enforce into those that it does.

Each rewritten schema accepts only values that the original accepts. What cannot be rewritten stays
as it is, and is refused when the grammar is compiled.

Format: https://json-schema.org/draft/2020-12/json-schema-validation.
"""

import re
from collections.abc import Callable, Mapping
from itertools import combinations, permutations
from math import comb
from typing import Any

from mlx_notebook.engine.grammar.rewriting.conditions import conditions, dependencies
from mlx_notebook.engine.grammar.rewriting.formats import other_than, with_pattern, without_format
from mlx_notebook.engine.grammar.rewriting.one_of import OneOf
from mlx_notebook.engine.grammar.rewriting.parts import (
    AT_ROOT,
    COMMENTS,
    MOST_VARIANTS,
    Schema,
    any_of,
    is_in,
    is_plain_object,
    only_required,
    with_property,
    with_required,
)
from mlx_notebook.engine.grammar.schema_exclusion import resolve, types_of, values_of

_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "then", "else")
# An array with other keywords is not rewritten: they would be lost.
_OF_A_LIST = frozenset(
    ("type", "items", "minItems", "maxItems", "title", "description", "default", *AT_ROOT)
)
_MOST_ARRAYS = 100
_OF_OBJECTS = ("if", "dependentRequired", "dependentSchemas", "dependencies", "propertyNames")
_APPLICATORS = ("anyOf", "oneOf", "allOf", "$ref", "if", "not", "dependentSchemas", "dependencies")


def enforceable(schema: Any, close: Callable[[Any], Any]) -> Any:
    """Return `schema` with what can be enforced in place of what cannot.

    Parameters
    ----------
    close
        What is done to the result afterwards: it may forbid properties that are not declared. The
        branches of `oneOf` then exclude each other in more cases.
    """
    return _Rewriter(schema, close).rewrite(schema)


class _Rewriter:
    def __init__(self, root: Any, close: Callable[[Any], Any]) -> None:
        self._root = root
        self._one_of = OneOf(root, close, self.rewrite)

    def rewrite(self, part: Any) -> Any:
        if not isinstance(part, Mapping):
            return part
        made = dict(part)
        for key in _MAPS:
            if isinstance(made.get(key), Mapping):
                made[key] = {name: self.rewrite(one) for name, one in made[key].items()}
        for key in _LISTS:
            if isinstance(made.get(key), list):
                made[key] = [self.rewrite(one) for one in made[key]]
        for key in _SINGLE:
            if key in made:
                made[key] = self.rewrite(made[key])
        for rule in (without_format, _as_object, _unevaluated, _unique_items, _counted):
            made = rule(made)
        made = _property_names(_negation(made, self._root), self._root)
        if isinstance(part.get("oneOf"), list):
            made = self._one_of.rewrite(made, part["oneOf"])
        for variants in (dependencies(made), conditions(made, self._root)):
            if variants:
                return any_of(made, variants)
        return made


def _as_object(part: Schema) -> Schema:
    """Say that a schema is for objects, where its keywords are for objects alone.

    Without `type` it accepts every text and number too, which nobody means. It must not be said of
    branches of other schemas, so only where these keywords have to be rewritten.
    """
    if "type" in part or "properties" not in part or "$ref" in part:
        return part
    return {**part, "type": "object"} if any(key in part for key in _OF_OBJECTS) else part


def _negation(part: Schema, root: Any) -> Schema:
    """Rewrite `not` that takes values, types or properties away."""
    negated = part.get("not")
    if not isinstance(negated, Mapping):
        return part
    rest = {key: value for key, value in part.items() if key != "not"}
    forbidden, own = values_of(negated), values_of(rest)
    if forbidden is not None and len(negated) == 1:
        if own is None and types_of(rest) == {"boolean"}:
            own = [True, False]
        if own is not None:
            left = [value for value in own if not is_in(value, forbidden)]
            return {**{k: v for k, v in rest.items() if k != "const"}, "enum": left}
        if types_of(rest) == {"string"} and len(forbidden) <= MOST_VARIANTS:
            texts = [value for value in forbidden if isinstance(value, str)]
            return with_pattern(rest, other_than(texts)) if texts else rest
    types = rest.get("type", ["array", "boolean", "null", "number", "object", "string"])
    types = types if isinstance(types, list) else [types]
    if set(negated) == {"type"} and "$ref" not in rest:
        taken = negated["type"] if isinstance(negated["type"], list) else [negated["type"]]
        # A number that is not an integer cannot be asked for, an integer instead of it can.
        is_clear = "integer" not in taken or "number" in taken or "number" not in types
        given = {*taken, "integer"} if "number" in taken else set(taken)
        if is_clear and (left := [name for name in types if name not in given]):
            return {**rest, "type": left}
    required = only_required(negated)
    if required and rest.get("type", "object") == "object" and not is_plain_object(rest):
        # Whatever is not an object fulfils `required`.
        ways = [{"properties": {name: False}, "additionalProperties": True} for name in required]
        made = {**rest, "type": "object"}
        if "anyOf" not in made:
            return {**made, "anyOf": ways}
        return {**made, "allOf": [*made.get("allOf", ()), {"anyOf": ways}]}
    if is_plain_object(rest):
        forbids = {"if": negated, "then": False}
        made = {**rest, "allOf": [*rest.get("allOf", ()), forbids]}
        return made if conditions(made, root) else part
    return part


def _property_names(part: Schema, root: Any) -> Schema:
    """Rewrite `propertyNames` as patterns of the names that are not declared."""
    names = resolve(part.get("propertyNames"), root)
    if not isinstance(names, Mapping):
        return part
    rest = {key: value for key, value in part.items() if key != "propertyNames"}
    allowed, pattern = values_of(names), _pattern_of_names(names)
    value, properties = rest.get("additionalProperties", True), rest.get("properties") or {}
    if set(names) <= {"type", *COMMENTS} and names.get("type", "string") == "string":
        return rest
    patterns = rest.pop("patternProperties", None) or {}
    if allowed is not None:
        declared: Schema = {}
        for name in allowed:
            said = [one for matching, one in patterns.items() if _matches(matching, str(name))]
            if name in properties:
                said.append(properties[name])
            if isinstance(name, str) and len(said) < 2:
                declared[name] = said[0] if said else value
        return {**rest, "properties": declared, "additionalProperties": False}
    if pattern is None or patterns:
        return part
    others = values_of(names.get("not"))
    if others is not None and value not in (True, {}):
        # What is said of other properties is not said of the declared ones.
        pattern_of_others = other_than([*others, *properties])
        kept = {name: one for name, one in properties.items() if name not in others}
        made = {**rest, "patternProperties": {pattern_of_others: value}, "properties": kept}
        return {**made, "additionalProperties": False}
    kept = {name: one for name, one in properties.items() if _matches(pattern, name)}
    if len(kept) == len(properties) and value is False:
        return rest
    if properties and value not in (True, False, {}):
        return part
    if value is False:
        return {**rest, "properties": kept}
    made = {**rest, "patternProperties": {pattern: value}, "additionalProperties": False}
    return {**made, "properties": kept} if properties else made


def _pattern_of_names(names: Mapping[str, Any]) -> str | None:
    """Return a pattern that says what a schema says of names; None if there is none."""
    said = set(names) - {"type", "title", "description", "$comment", "format"}
    said |= {"format"} if str(names.get("format")) in _NAMED_FORMATS else set()
    if said == {"pattern"}:
        return str(names["pattern"])
    if said and said <= {"minLength", "maxLength"}:
        return rf"^[\s\S]{{{int(names.get('minLength', 0))},{names.get('maxLength', '')}}}$"
    one_class = re.fullmatch(r"\^(\[[^\[\]]+\])([+*])\$", str(names.get("pattern")))
    if one_class and said <= {"pattern", "minLength", "maxLength"}:
        least = max(int(names.get("minLength", 0)), int(one_class[2] == "+"))
        return f"^{one_class[1]}{{{least},{names.get('maxLength', '')}}}$"
    if said == {"not"}:
        texts = values_of(names["not"])
        if texts is not None and all(isinstance(text, str) for text in texts):
            return other_than(texts)
    return None


_NAMED_FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
)


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # not a pattern of Python: the name is left out
        return False


def _counted(part: Schema) -> Schema:
    """Rewrite limits on how many of the declared properties an object has."""
    least, most = int(part.get("minProperties", 0)), part.get("maxProperties")
    if ("minProperties" not in part and most is None) or not is_plain_object(part):
        return part
    properties, required = part.get("properties") or {}, set(part.get("required") or ())
    optional = [name for name in properties if name not in required]
    if not optional or part.get("additionalProperties", False) is not False:
        return part
    rest = {k: v for k, v in part.items() if k not in ("minProperties", "maxProperties")}
    missing = max(0, least - len(properties) + len(optional))
    room = len(optional) if most is None else min(len(optional), int(most) - len(required))
    if room < missing or comb(len(optional), room) * comb(room, missing) > MOST_VARIANTS:
        return part
    variants = []
    for allowed in combinations(optional, room):
        made = rest
        for name in optional:
            if name not in allowed:
                made = with_property(made, name, False)
        variants += [with_required(made, list(more)) for more in combinations(allowed, missing)]
    return any_of(part, variants)


def _unevaluated(part: Schema) -> Schema:
    """Rewrite `unevaluatedProperties` where no other schema evaluates properties."""
    if "unevaluatedProperties" not in part or any(key in part for key in _APPLICATORS):
        return part
    rest = {key: value for key, value in part.items() if key != "unevaluatedProperties"}
    rest.setdefault("additionalProperties", part["unevaluatedProperties"])
    return rest


def _unique_items(part: Schema) -> Schema:
    """Rewrite `uniqueItems` over few values as the arrays of them in any order."""
    if "uniqueItems" not in part:
        return part
    rest = {key: value for key, value in part.items() if key != "uniqueItems"}
    least, most = rest.get("minItems", 0), rest.get("maxItems")
    if part["uniqueItems"] is False or (most is not None and most <= 1):
        return rest
    items = rest.get("items")
    values = values_of(items)
    if values is None and isinstance(items, Mapping) and types_of(items) == {"boolean"}:
        values = [True, False]
    if values is not None and least > len(values):
        return {**rest, "items": False, "minItems": 1}  # no array fulfils it
    if values is None or not set(rest) <= _OF_A_LIST or types_of(rest) != {"array"}:
        return part
    values = [value for at, value in enumerate(values) if not is_in(value, values[:at])]
    most = len(values) if most is None else min(int(most), len(values))
    arrays: list[Schema] = []
    for size in range(int(least), most + 1):
        for chosen in permutations(values, size):
            if len(arrays) == _MOST_ARRAYS:
                return part
            arrays.append(
                {
                    "type": "array",
                    "prefixItems": [{"const": value} for value in chosen],
                    "items": False,
                    "minItems": size,
                    "maxItems": size,
                }
            )
    kept = {key: rest[key] for key in AT_ROOT if key in rest}
    return {**kept, "anyOf": arrays} if arrays else part
