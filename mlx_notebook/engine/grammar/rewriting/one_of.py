"""Rewrite `oneOf` as `anyOf` of branches that exclude each other."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlx_notebook.engine.grammar.rewriting.formats import other_than, with_pattern
from mlx_notebook.engine.grammar.rewriting.parts import (
    COMMENTS,
    MOST_VARIANTS,
    Schema,
    any_of,
    is_in,
    is_plain_object,
    only_required,
    with_property,
    with_required,
    without,
)
from mlx_notebook.engine.grammar.schema_exclusion import exclude, resolve, types_of, values_of

_DEPTH = 3
"""How many references inside each other are followed to rewrite a branch."""


class OneOf:
    """Rewrites `oneOf` in the parts of one schema.

    Parameters
    ----------
    close
        As in `enforceable`.
    """

    def __init__(
        self, root: Any, close: Callable[[Any], Any], rewrite: Callable[[Any], Any]
    ) -> None:
        self._root, self._close, self._rewrite = root, close, rewrite
        self._depth = 0

    def rewrite(self, part: Schema, given: list[Any]) -> Schema:
        """Return a part of the schema without `oneOf`, or as it is if that cannot be done.

        Parameters
        ----------
        given
            The branches as the schema has them. A rewritten branch may accept less, so what it
            does not accept may still fulfil the branch.
        """
        branches = part.get("oneOf")
        if not isinstance(branches, list) or not branches:
            return part
        rest = {key: value for key, value in part.items() if key != "oneOf"}
        if "anyOf" in rest:
            made = self.rewrite({"oneOf": branches, **_kept(rest)}, given)
            if "oneOf" in made:
                return part
            return {**rest, "allOf": [*rest.get("allOf", ()), {"anyOf": made["anyOf"]}]}
        keys = [only_required(branch) for branch in branches]
        if all(keys) and is_plain_object(rest):
            variants = self._of_keys(rest, [key for key in keys if key is not None])
            return any_of(rest, variants) if variants else part
        # What stands beside the branches holds for all of them.
        beside = _kept(rest)
        whole = [self._beside(resolve(one, self._root), beside) for one in given]
        chosen: list[Any] = []
        for at, branch in enumerate(branches):
            own = _as_object(self._beside(resolve(branch, self._root), beside))
            closed = own if "properties" in rest else self._close(own)
            others = whole[:at] + whole[at + 1 :]
            if all(exclude(closed, other, self._root) for other in others):
                chosen.append(branch if "$ref" in branch else _as_object(branch))
                continue
            if isinstance(branch, Mapping) and "$ref" in branch:
                if len(branch) > 1 or self._depth == _DEPTH:
                    return part
                self._depth += 1
                own = _as_object(self._beside(self._rewrite(own), beside))
                self._depth -= 1
                closed = own if "properties" in rest else self._close(own)
            apart = self._apart(closed, others)
            if apart is None:
                return part
            chosen.extend(apart)
        return {**rest, "anyOf": chosen} if chosen else part

    def _beside(self, branch: Any, beside: Schema) -> Any:
        if not isinstance(branch, Mapping):
            return branch
        made = {**beside, **branch}
        if "required" in beside and "required" in branch:
            made["required"] = [*beside["required"], *branch["required"]]
        return made

    def _of_keys(self, base: Schema, keys: list[list[str]]) -> list[Schema] | None:
        """Return the variants for branches of required keys: each forbids those of the others."""
        variants: list[Schema] = []
        for at, own in enumerate(keys):
            made: list[Schema] = [base]
            for names in keys[:at] + keys[at + 1 :]:
                # Without one of their keys the other branch fails.
                others = [name for name in names if name not in own]
                made = [less for one in made for name in others if (less := without(one, name))]
                if not others or len(made) > MOST_VARIANTS:
                    return None
            variants.extend(with_required(one, own) for one in made)
        return variants

    def _apart(self, branch: Any, others: list[Any]) -> list[Schema] | None:
        """Return variants of a branch that exclude all others; None if there are none.

        They accept only what the branch accepts. An empty list says that whatever fulfils the
        branch fulfils another too.
        """
        if not isinstance(branch, Mapping):
            return None
        values = values_of(branch)
        if values is not None:
            left = [
                value for value in values if not any(self._accepts(one, value) for one in others)
            ]
            rest = {key: value for key, value in branch.items() if key != "const"}
            return [{**rest, "enum": left}] if left else []
        inner = branch.get("anyOf")
        variants: list[Schema] = [dict(branch)]
        if isinstance(inner, list) and set(branch) <= {"anyOf", *COMMENTS}:
            variants = [one for one in inner if isinstance(one, dict) and "$ref" not in one]
            if len(variants) < len(inner):
                return None
        for other in others:
            made: list[Schema] = []
            for variant in variants:
                if exclude(variant, other, self._root):
                    made.append(variant)
                    continue
                made.extend(
                    one
                    for one in _differences(variant, other)
                    if exclude(one, other, self._root) or _forbids_texts(one, other)
                )
            if not made or len(made) > MOST_VARIANTS:
                return None
            variants = made
        return variants

    def _accepts(self, schema: Any, value: Any) -> bool:
        """Whether a value fulfils a schema. True also where that is not clear."""
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
        from referencing.exceptions import Unresolvable

        validator = Draft202012Validator(self._root)
        try:
            return bool(validator.evolve(schema=schema).is_valid(value))
        except Unresolvable:
            return True


def _as_object(branch: Any) -> Any:
    """Say that a branch which requires properties is for objects; nobody means other values."""
    if not isinstance(branch, Mapping) or "type" in branch or values_of(branch) is not None:
        return branch
    is_object = bool(branch.get("required")) and "$ref" not in branch
    return {"type": "object", **branch} if is_object else branch


def _kept(rest: Schema) -> Schema:
    return {key: rest[key] for key in ("type", "required") if key in rest}


def _differences(one: Schema, other: Any) -> Iterator[Schema]:
    """Yield variants of a schema that may exclude another."""
    if not isinstance(other, Mapping):
        return
    names = one.get("type")
    if isinstance(names, list):
        kept = [name for name in names if types_of({"type": name}).isdisjoint(types_of(other))]
        if kept:
            yield {**one, "type": kept}
    texts = _texts(other)
    if texts is not None and types_of(one) == {"string"}:
        yield with_pattern(one, other_than(texts))
    if types_of(one) == {"array"} and not one.get("minItems"):
        yield {**one, "minItems": 1}
    if types_of(one) != {"object"} or not isinstance(one.get("properties", {}), Mapping):
        return
    properties = one.get("properties") or {}
    theirs = other.get("properties") if isinstance(other.get("properties"), Mapping) else {}
    for name in other.get("required") or ():
        if name not in (one.get("required") or ()):
            yield with_property(one, name, False)
    for name, own in properties.items():
        values, taken = values_of(own), values_of((theirs or {}).get(name))
        if values is not None and taken is not None:
            left = [value for value in values if not is_in(value, taken)]
            if left:
                rest = {key: value for key, value in own.items() if key != "const"}
                narrowed = with_property(one, name, {**rest, "enum": left})
                yield with_required(narrowed, [name])
        if name not in (one.get("required") or ()) and own is not False:
            yield with_required(one, [name])


def _texts(schema: Any) -> list[str] | None:
    values = values_of(schema)
    if values is None:
        return None
    texts = [value for value in values if isinstance(value, str)]
    return texts if len(texts) <= MOST_VARIANTS else None


def _forbids_texts(one: Schema, other: Any) -> bool:
    """Whether a schema of texts was made to exclude all texts of the other."""
    texts = _texts(other)
    if texts is None or types_of(one) != {"string"}:
        return False
    pattern = other_than(texts)
    return one.get("pattern") == pattern or {"pattern": pattern} in one.get("allOf", ())
