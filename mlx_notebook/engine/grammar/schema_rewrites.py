"""Rewrite keywords of JSON schemas that llguidance does not enforce into those that it does.

Each rewritten schema accepts only values that the original accepts. What cannot be rewritten stays
as it is, and is refused when the grammar is compiled.

Format: https://json-schema.org/draft/2020-12/json-schema-validation.
"""

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

from mlx_notebook.engine.grammar.schema_exclusion import exclude, resolve, types_of, values_of

Schema = dict[str, Any]

_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "additionalItems")
_AT_ROOT = ("$schema", "$id", "$defs", "definitions")
# Formats of the standard that llguidance does not know. Others that it does not know are nobody's,
# and so annotations.
_REFUSED_FORMATS = frozenset(
    (
        *("uri-reference", "iri", "iri-reference", "uri-template", "json-pointer", "regex"),
        *("relative-json-pointer", "idn-email", "idn-hostname"),
    )
)
_FORMATS = frozenset(
    (
        *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
        *("uri", "unknown", *_REFUSED_FORMATS),
    )
)
# An array with other keywords is not rewritten: they would be lost.
_OF_A_LIST = frozenset(
    ("type", "items", "minItems", "maxItems", "title", "description", "default", *_AT_ROOT)
)
_MOST_ARRAYS = 100
_MOST_CONDITIONS = 4
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
        self._root, self._close = root, close

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
        for rule in (_format, _negation, _property_names, _unevaluated, _unique_items):
            made = rule(made)
        made = self._one_of(made)
        for branches in (_dependencies, _condition):
            made = _as_any_of(made, branches)
        return made

    def _one_of(self, part: Schema) -> Schema:
        """Rewrite `oneOf` whose branches exclude each other as `anyOf`."""
        branches = part.get("oneOf")
        if not isinstance(branches, list) or "anyOf" in part:
            return part
        rest = {key: value for key, value in part.items() if key != "oneOf"}
        keys = [_only_required(branch) for branch in branches]
        if all(keys) and _is_plain_object(rest):
            return self._one_of_keys(part, rest, [key for key in keys if key is not None])
        # What stands beside the branches holds for all of them.
        beside = {key: rest[key] for key in ("type",) if key in rest}
        found = [resolve(one, self._root) for one in branches]
        whole = [{**beside, **one} if isinstance(one, Mapping) else one for one in found]
        closed = whole if "properties" in rest else [self._close(one) for one in whole]
        places = range(len(whole))
        apart = all(
            exclude(closed[i], whole[j], self._root) for i in places for j in places if i != j
        )
        return {**rest, "anyOf": branches} if apart else part

    def _one_of_keys(self, part: Schema, base: Schema, keys: list[list[str]]) -> Schema:
        """Rewrite a `oneOf` of required properties: each branch forbids those of the others."""
        variants = []
        for at, own in enumerate(keys):
            # Without one of their keys the other branches fail.
            theirs = keys[:at] + keys[at + 1 :]
            others = [[key for key in names if key not in own] for names in theirs]
            if not all(others):
                return part
            made: Schema | None = base
            for names in others:
                if len(names) != 1:
                    return part
                made = made and _without(made, names[0])
            if made is not None:
                variants.append(_with(made, own))
        return _any_of(base, variants) if variants else part


def _format(part: Schema) -> Schema:
    """Drop a format that nobody knows: it is an annotation."""
    name = part.get("format")
    if isinstance(name, str) and name not in _FORMATS:
        return {key: value for key, value in part.items() if key != "format"}
    return part


def _negation(part: Schema) -> Schema:
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
            left = [value for value in own if not _is_in(value, forbidden)]
            return {**{k: v for k, v in rest.items() if k != "const"}, "enum": left}
    names = _only_required(negated)
    if names is not None and len(names) == 1 and _is_plain_object(rest):
        return _without(rest, names[0]) or part
    types = rest.get("type")
    if set(negated) == {"type"} and isinstance(types, list) and "number" not in types:
        taken = negated["type"] if isinstance(negated["type"], list) else [negated["type"]]
        if "number" not in taken and (left := [name for name in types if name not in taken]):
            return {**rest, "type": left}
    return part


def _property_names(part: Schema) -> Schema:
    """Rewrite `propertyNames` of an object that declares no properties."""
    names = part.get("propertyNames")
    if not isinstance(names, Mapping) or part.get("properties") or part.get("patternProperties"):
        return part
    rest = {key: value for key, value in part.items() if key != "propertyNames"}
    value = rest.get("additionalProperties", True)
    if set(names) <= {"pattern", "type"} and "pattern" in names:
        matching = {names["pattern"]: value}
        return {**rest, "patternProperties": matching, "additionalProperties": False}
    allowed = values_of(names)
    if allowed is not None and all(isinstance(name, str) for name in allowed):
        declared = dict.fromkeys(allowed, value)
        return {**rest, "properties": declared, "additionalProperties": False}
    return part


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
    values = [value for at, value in enumerate(values) if not _is_in(value, values[:at])]
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
    kept = {key: rest[key] for key in _AT_ROOT if key in rest}
    return {**kept, "anyOf": arrays} if arrays else part


def _dependencies(part: Schema) -> list[Schema] | None:
    """Return the variants of an object whose properties depend on each other."""
    wanted: dict[str, Any] = {}
    for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        given = part.get(keyword)
        if given is not None and not isinstance(given, Mapping):
            return None
        for name, needs in (given or {}).items():
            if name in wanted:
                return None
            wanted[name] = {"required": needs} if isinstance(needs, list) else needs
    if not wanted or len(wanted) > _MOST_CONDITIONS:
        return None
    dropped = ("dependentRequired", "dependentSchemas", "dependencies")
    base = {key: value for key, value in part.items() if key not in dropped}
    if not _is_plain_object(base):
        return None
    variants = [base]
    for name, needs in wanted.items():
        split: list[Schema] = []
        for variant in variants:
            if (without := _without(variant, name)) is not None:
                split.append(without)
            merged = _merged(_with(variant, [name]), needs)
            if merged is None:
                return None
            split.extend(merged)
        variants = split
    return variants


def _condition(part: Schema) -> list[Schema] | None:
    """Return the variants of an object with `if` on the value of one property."""
    if "if" not in part:
        return None
    base = {key: value for key, value in part.items() if key not in ("if", "then", "else")}
    test = part["if"]
    if not isinstance(test, Mapping) or not set(test) <= {"properties", "required", "type"}:
        return None
    tested = test.get("properties")
    if not isinstance(tested, Mapping) or len(tested) != 1 or not _is_plain_object(base):
        return None
    ((name, condition),) = tested.items()
    wanted = values_of(condition)
    if wanted is None or not set(test.get("required") or [name]) <= {name}:
        return None
    declared = base.get("properties", {}).get(name)
    known = values_of(declared)
    if known is None and isinstance(declared, Mapping) and types_of(declared) == {"boolean"}:
        known = [True, False]
    if known is None:  # the values for which the condition does not hold cannot be written
        return None
    then, other = part.get("then", True), part.get("else", True)
    # What else is said of the property stays.
    beside = {key: value for key, value in declared.items() if key not in ("const", "enum")}
    holds = [value for value in known if _is_in(value, wanted)]
    fails = [value for value in known if not _is_in(value, wanted)]
    is_tested = name in (test.get("required") or ())
    cases: list[tuple[Schema | None, Any]] = [
        (_with(_set(base, name, {**beside, "enum": holds}), [name]) if holds else None, then),
        (_with(_set(base, name, {**beside, "enum": fails}), [name]) if fails else None, other),
        (_without(base, name), other if is_tested else then),
    ]
    variants: list[Schema] = []
    for case, needs in cases:
        if case is None:
            continue
        merged = _merged(case, needs)
        if merged is None:
            return None
        variants.extend(merged)
    return variants


def _as_any_of(part: Schema, branches: Callable[[Schema], list[Schema] | None]) -> Schema:
    variants = branches(part)
    return part if not variants else _any_of(part, variants)


def _any_of(part: Schema, variants: list[Schema]) -> Schema:
    """Return a choice among variants of a part; what other parts refer to stays in its place."""
    kept = {key: part[key] for key in _AT_ROOT if key in part}
    return {
        **kept,
        "anyOf": [{k: v for k, v in variant.items() if k not in _AT_ROOT} for variant in variants],
    }


def _merged(base: Schema, needs: Any) -> list[Schema] | None:
    """Return what fulfils both schemas: one schema or none. None if it cannot be written."""
    if needs is True or needs == {}:
        return [base]
    if needs is False:
        return []
    if not isinstance(needs, Mapping) or not set(needs) <= {"properties", "required", "type"}:
        return None
    if needs.get("type", "object") != "object":
        return None
    made = dict(base)
    for name, schema in (needs.get("properties") or {}).items():
        own = _declared(made, name)
        if own is None:
            return None
        both = _both(own, schema)
        if both is None:
            return None
        made = _set(made, name, both)
    for name in needs.get("required") or ():
        own = _declared(made, name)
        if own is False:
            return []
        if own is None:
            return None
        made = _with(made, [name])
        if name not in made.get("properties", {}):
            made = _set(made, name, own)
    return [made]


def _both(one: Any, other: Any) -> Any:
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
            return {"enum": [value for value in values if _is_in(value, others)]}
        if all(one[key] == other[key] for key in one if key in other):
            return {**one, **other}
    return None


def _declared(part: Schema, name: str) -> Any:
    """Return the schema of a property, False if it is forbidden, None if that is not clear."""
    if name in part.get("properties", {}):
        return part["properties"][name]
    return part.get("additionalProperties", True)


def _without(part: Schema, name: str) -> Schema | None:
    """Return the objects without a property. None if it is required."""
    return None if name in (part.get("required") or ()) else _set(part, name, False)


def _with(part: Schema, names: list[str]) -> Schema:
    required = list(part.get("required") or ())
    return {**part, "required": [*required, *(name for name in names if name not in required)]}


def _set(part: Schema, name: str, schema: Any) -> Schema:
    return {**part, "properties": {**part.get("properties", {}), name: schema}}


def _only_required(branch: Any) -> list[str] | None:
    """Return the names that a branch requires, if it says nothing else."""
    if not isinstance(branch, Mapping) or not set(branch) <= {"required", "type"}:
        return None
    names = branch.get("required")
    return list(names) if names and branch.get("type", "object") == "object" else None


def _is_plain_object(part: Schema) -> bool:
    """Whether a schema is for objects alone, and declares their properties itself."""
    return types_of(part) == {"object"} and not part.get("patternProperties") and "$ref" not in part


def _is_in(value: Any, values: list[Any]) -> bool:
    """Whether a list has a value, as JSON compares them: true is not 1."""
    return any(_equals(value, other) for other in values)


def _equals(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
