"""Convert argument values from a dialect's text or literals to JSON, by the schema's types."""

import ast
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from mlx_notebook.engine.functions.declared import Schema
from mlx_notebook.engine.functions.parse_errors import Malformed

_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)


def dumps(value: Any) -> str:
    """Return `value` as JSON text that is valid UTF-8. Lone surrogates stay escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or _encodable(text) else json.dumps(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def type_of(value: Any) -> str:
    """Return the JSON type of a Python value."""
    for kind, name in _JSON_TYPES:
        if isinstance(value, kind):
            return name
    return "null"


def resolve_ref(schema: Any, root: Schema) -> Any:
    """Resolve a local `$ref` of `schema` inside `root`. A broken one allows any value."""
    for _ in range(16):
        ref = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(ref, str):
            return schema
        schema = root
        for part in ref.removeprefix("#").strip("/").split("/") if ref != "#" else ():
            part = part.replace("~1", "/").replace("~0", "~")
            schema = schema.get(part, {}) if isinstance(schema, Mapping) else {}
    return {}


def types_of(schema: Any, root: Schema) -> frozenset[str]:
    """Return the JSON types that `schema` names. Empty means any type."""
    # References may be circular or numerous: after 200 schemas, any type is allowed.
    return _types_of(schema, root, iter(range(200)))


def _types_of(schema: Any, root: Schema, steps: Iterator[int]) -> frozenset[str]:
    schema = resolve_ref(schema, root)
    if not isinstance(schema, Mapping) or next(steps, None) is None:
        return frozenset()
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset({declared})
    if isinstance(declared, list):
        return frozenset(kind for kind in declared if isinstance(kind, str))
    if "const" in schema:
        return frozenset({type_of(schema["const"])})
    if isinstance(schema.get("enum"), list):
        return frozenset(type_of(value) for value in schema["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list):
            branches = [_types_of(branch, root, steps) for branch in schema[key]]
            known = all(branches) or key == "allOf"
            return frozenset().union(*branches) if known else frozenset()
    return frozenset()


def from_text(text: str, schema: Any, root: Schema) -> Any:
    """Return the value of text in a dialect that writes strings without quotes.

    A parameter that must be a string stays a string. Other text is read as JSON or as a Python
    literal, and stays a string if it is neither.
    """
    types = types_of(schema, root)
    if types == {"string"}:
        return text
    bare = text.strip()
    if "null" in types and bare in ("null", "None"):
        return None
    value = _literal(bare)
    if value is None and bare not in ("null", "None"):
        return text
    if "string" in types and not _allowed(value, types):
        return text
    return _fit(value, types)


def conform(value: Any, schema: Any, root: Schema, source: str | None = None) -> Any:
    """Return a parsed literal in a type that the schema allows.

    `source` is the text of the literal: `zip=02134` is `"02134"` if a string is declared.
    """
    schema = resolve_ref(schema, root)
    types = types_of(schema, root)
    if isinstance(value, dict) and isinstance(schema, Mapping):
        known = schema.get("properties") or {}
        extra = schema.get("additionalProperties")
        return {key: conform(item, known.get(key, extra), root) for key, item in value.items()}
    if isinstance(value, list) and isinstance(schema, Mapping):
        return [conform(item, schema.get("items"), root) for item in value]
    if not types or _allowed(value, types):
        return _fit(value, types)
    if isinstance(value, str):
        return from_text(value, schema, root)
    if "string" in types and value is not None:
        return source if source is not None else dumps(value)
    return _fit(value, types)


def _allowed(value: Any, types: frozenset[str]) -> bool:
    kind = type_of(value)
    if kind == "integer":
        return bool(types & {"integer", "number"})
    if kind == "number":
        return "number" in types or ("integer" in types and float(value).is_integer())
    return kind in types


def _fit(value: Any, types: frozenset[str]) -> Any:
    if isinstance(value, float) and "integer" in types and "number" not in types:
        return int(value) if value.is_integer() else value
    return value


def _literal(text: str) -> Any:
    """Return `text` as JSON or as a Python literal; None if it is neither."""
    if text in ("True", "False"):
        return text == "True"
    with suppress(ValueError, RecursionError):  # then it may be Python
        return json.loads(text, strict=False, parse_constant=_no_constant)
    try:
        return python_literal(text)
    except Malformed:
        return None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _JSONNames(ast.NodeTransformer):
    """Replaces JSON's true, false and null, which models also write in Python."""

    _values = {"true": True, "false": False, "null": None}  # noqa: RUF012

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self._values:
            return ast.copy_location(ast.Constant(self._values[node.id]), node)
        return node


def python_literal(text: str) -> Any:
    """Return the value of a Python literal in JSON's types.

    JSON's constants are allowed. Tuples and sets become lists.

    Raises
    ------
    Malformed
        If the text is no literal.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _plain(ast.literal_eval(_JSONNames().visit(tree)))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise Malformed(f"The argument {shown!r} is not a Python literal.") from error


def _plain(value: Any) -> Any:
    """Return a Python value in JSON's types."""
    if isinstance(value, str):
        # "\ud83d\ude00" in a literal is a surrogate pair, which means one character in JSON.
        return value if _encodable(value) else _join_surrogates(value)
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else dumps(_plain(key)): _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=dumps)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _join_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
