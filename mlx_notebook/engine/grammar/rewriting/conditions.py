"""Rewrite `if`, `dependentRequired` and their relatives as a choice among objects."""

from collections.abc import Mapping
from typing import Any

from mlx_notebook.engine.grammar.rewriting.formats import other_than, with_pattern
from mlx_notebook.engine.grammar.rewriting.parts import (
    COMMENTS,
    MOST_VARIANTS,
    Schema,
    both_of,
    declared,
    is_in,
    is_plain_object,
    with_property,
    with_required,
    without,
)
from mlx_notebook.engine.grammar.schema_exclusion import resolve, types_of, values_of

_DEPENDENCIES = ("dependentRequired", "dependentSchemas", "dependencies")
_CONDITION = ("if", "then", "else")
_OF_TEXTS = frozenset(
    (
        *("type", "pattern", "format", "minLength", "maxLength"),
        *("title", "description", "default", "examples", "$comment"),
    )
)


def dependencies(part: Schema) -> list[Schema] | None:
    """Return the variants of an object whose properties depend on each other."""
    wanted: dict[str, Any] = {}
    for keyword in _DEPENDENCIES:
        given = part.get(keyword)
        if given is not None and not isinstance(given, Mapping):
            return None
        for name, needs in (given or {}).items():
            if name in wanted:
                return None
            wanted[name] = {"required": needs} if isinstance(needs, list) else needs
    base = {key: value for key, value in part.items() if key not in _DEPENDENCIES}
    if not wanted or not is_plain_object(base) or "if" in base:
        return None
    variants = [base]
    for name, needs in wanted.items():
        split: list[Schema] = []
        for variant in variants:
            if (less := without(variant, name)) is not None:
                split.append(less)
            if declared(variant, name) is not False:
                split.extend(merged(with_required(variant, [name]), needs))
        if len(split) > MOST_VARIANTS:
            return None
        variants = split
    return variants


def conditions(part: Schema, root: Any) -> list[Schema] | None:
    """Return the variants of an object with `if`, and with several of them in `allOf`."""
    found = [{key: part[key] for key in _CONDITION if key in part}] if "if" in part else []
    others = []
    for one in part.get("allOf") or ():
        if isinstance(one, Mapping) and "if" in one and set(one) <= {*_CONDITION, *COMMENTS}:
            found.append({key: one[key] for key in _CONDITION if key in one})
        else:
            others.append(one)
    base = {key: value for key, value in part.items() if key not in (*_CONDITION, "allOf")}
    if others:
        base["allOf"] = others
    if not found:
        return None
    variants, kept = [base], list[Schema]()
    names = base.get("type")
    if isinstance(names, list) and "object" in names and "enum" not in base:
        # Of other values such a condition and what it demands say nothing.
        if not all(map(_is_for_objects, found)):
            return None
        variants = [{**base, "type": "object"}]
        kept = [{**base, "type": [name for name in names if name != "object"]}]
    if not is_plain_object(variants[0]):
        return None
    for condition in found:
        split: list[Schema] = []
        for variant in variants:
            cases = _cases(variant, condition["if"], root)
            if cases is None:
                return None
            for case, holds in cases:
                split.extend(merged(case, condition.get("then" if holds else "else", True)))
        if len(split) > MOST_VARIANTS:
            return None
        variants = split
    return variants + kept


def _is_for_objects(condition: Schema) -> bool:
    allowed = {"properties", "required", *COMMENTS}
    return all(isinstance(one, Mapping) and set(one) <= allowed for one in condition.values())


def merged(base: Schema, needs: Any) -> list[Schema]:
    """Return what fulfils both schemas: one schema or none."""
    if needs is True or needs == {}:
        return [base]
    if needs is False:
        return []
    made = base
    rest = {key: value for key, value in needs.items() if key not in COMMENTS}
    if rest.get("type") == "object":
        del rest["type"]
    required = rest.pop("required", ())
    for name, schema in (rest.pop("properties", None) or {}).items():
        own = declared(made, name)
        both = both_of(own, schema)
        if both is None:
            both = {"allOf": [own, schema]}
        if both is False and name in (made.get("required") or ()):
            return []
        made = with_property(made, name, both)
    for name in required:
        own = declared(made, name)
        if own is False:
            return []
        made = with_required(made, [name])
        if name not in made.get("properties", {}):
            made = with_property(made, name, own)
    if rest:
        made = {**made, "allOf": [*made.get("allOf", ()), rest]}
    return [made]


def _cases(base: Schema, test: Any, root: Any) -> list[tuple[Schema, bool]] | None:
    """Return variants of an object that cover it, and whether a condition holds for each."""
    if not isinstance(test, Mapping):
        return [(base, bool(test))]
    test = {key: value for key, value in test.items() if key not in COMMENTS}
    if set(test) == {"not"}:
        cases = _cases(base, test["not"], root)
        return None if cases is None else [(case, not holds) for case, holds in cases]
    if set(test) in ({"allOf"}, {"anyOf"}):
        return _combined(base, test, root)
    if not set(test) <= {"properties", "required", "type"} or test.get("type") not in (
        None,
        "object",
    ):
        return None
    required = list(test.get("required") or ())
    tested = dict(test.get("properties") or {})
    names = [*tested, *(name for name in required if name not in tested)]
    holding, cases = [base], list[tuple[Schema, bool]]()
    for name in names:
        following: list[Schema] = []
        for variant in holding:
            own = declared(variant, name)
            less = without(variant, name)
            if less is not None and name in required:
                cases.append((less, False))
            elif less is not None:
                following.append(less)
            if own is False:
                continue
            split = _split(resolve(own, root), tested.get(name, True))
            if split is None:
                return None
            for schema, holds in split:
                made = with_required(with_property(variant, name, schema), [name])
                if holds:
                    following.append(made)
                else:
                    cases.append((made, False))
        holding = following
        if len(holding) + len(cases) > MOST_VARIANTS:
            return None
    return [*((case, True) for case in holding), *cases]


def _combined(base: Schema, test: Any, root: Any) -> list[tuple[Schema, bool]] | None:
    """Return the cases of a condition of several, all or any of which must hold."""
    ((keyword, tests),) = test.items()
    ends = keyword == "anyOf"  # one that holds is enough; of `allOf` one that fails
    cases, open_ = list[tuple[Schema, bool]](), [base]
    for one in tests:
        following: list[Schema] = []
        for variant in open_:
            split = _cases(variant, one, root)
            if split is None:
                return None
            for case, holds in split:
                if holds is ends:
                    cases.append((case, ends))
                else:
                    following.append(case)
        open_ = following
        if len(open_) + len(cases) > MOST_VARIANTS:
            return None
    return [*cases, *((case, not ends) for case in open_)]


def _split(own: Any, condition: Any) -> list[tuple[Any, bool]] | None:
    """Return schemas for the values of a property, and whether the condition holds for each."""
    if condition is True or condition == {}:
        return [(own, True)]
    if isinstance(condition, Mapping) and set(condition) == {"not"}:
        split = _split(own, condition["not"])
        return None if split is None else [(schema, not holds) for schema, holds in split]
    if not isinstance(own, Mapping):
        return None
    wanted = values_of(condition)
    known = values_of(own)
    names = own.get("type")
    if wanted is not None and known is None and isinstance(names, list) and "null" in names:
        others = [name for name in names if name != "null"]
        parts = ({**own, "type": others}, {"type": "null", "enum": [None]})
        found: list[tuple[Any, bool]] = []
        for part in parts:
            split = _split(part, condition)
            if split is None:
                return None
            found.extend(split)
        return found
    if wanted is not None and "type" in own and not types_of(own) & types_of(condition):
        return [(own, False)]
    if known is None and types_of(own) == {"boolean"}:
        known = [True, False]
    if wanted is None or not set(condition) <= {"const", "enum", "type", *COMMENTS}:
        return None
    beside = {key: value for key, value in own.items() if key not in ("const", "enum")}
    if known is not None:
        holds = [value for value in known if is_in(value, wanted)]
        fails = [value for value in known if not is_in(value, wanted)]
        both = ((holds, True), (fails, False))
        return [({**beside, "enum": values}, hold) for values, hold in both if values]
    if types_of(own) != {"string"} or not all(isinstance(value, str) for value in wanted):
        return None
    if set(own) - _OF_TEXTS:
        return None
    return [
        ({**own, "enum": wanted}, True),
        (with_pattern(own, other_than(wanted)), False),
    ]
