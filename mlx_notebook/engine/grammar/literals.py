"""Grammars for values of a JSON schema in other notations than JSON, such as Python's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mlx_notebook.engine.functions.arguments import resolve_ref
from mlx_notebook.engine.grammar.lark import LarkRules, quoted
from mlx_notebook.engine.sandbox.grammar_errors import NotEnforceable

_KNOWN = {
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
    "boolean": set[str](),
    "null": set[str](),
}
_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")


class LiteralSyntax(NamedTuple):
    """How a notation writes constants, keys and strings.

    `string_mark` encloses strings; "" means JSON strings.
    """

    true: str
    false: str
    null: str
    key: Callable[[str], str]
    separator: str = ", "
    string_mark: str = ""

    def literal(self, value: Any) -> str:
        """Return a JSON value in this notation."""
        if value is None or isinstance(value, bool):
            return {None: self.null, True: self.true, False: self.false}[value]
        if isinstance(value, str):
            return (
                f"{self.string_mark}{value}{self.string_mark}"
                if self.string_mark
                else quoted(value)
            )
        if isinstance(value, Mapping):
            pairs = (self.key(key) + self.literal(item) for key, item in value.items())
            return "{" + self.separator.join(pairs) + "}"
        if isinstance(value, Sequence):
            return "[" + self.separator.join(map(self.literal, value)) + "]"
        return quoted(value) if isinstance(value, str) else repr(value)


PYTHON = LiteralSyntax("True", "False", "None", lambda key: f"{quoted(key)}: ")


class LiteralRules:
    """Expressions for the values of a schema in one notation.

    Numbers and JSON strings use llguidance's JSON grammars with all their keywords. Containers are
    written out here. With `strict`, a keyword that cannot be enforced raises NotEnforceable.
    Without, it is ignored.
    """

    def __init__(
        self,
        syntax: LiteralSyntax,
        rules: LarkRules,
        root: Mapping[str, Any],
        strict: bool,
        dialect: str,
    ) -> None:
        self._syntax, self._rules, self._root = syntax, rules, root
        self._strict, self._dialect = strict, dialect
        self._refs: dict[str, str] = {}

    def value(self, schema: Any) -> str:
        """Return an expression for the values that `schema` allows."""
        if schema is None or schema is True or schema == {}:
            return self._any()
        if not isinstance(schema, Mapping):
            self._refuse("false")
            return self._any()
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema["$ref"])
        if "const" in schema:
            return self._rules.text(self._syntax.literal(schema["const"]))
        if isinstance(schema.get("enum"), list):
            return self._rules.choice([self._syntax.literal(value) for value in schema["enum"]])
        branches = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(branches, list):
            return "(" + " | ".join(self.value(branch) for branch in branches) + ")"
        combined = schema.get("allOf")
        if isinstance(combined, list):
            if len(combined) == 1:
                return self.value(combined[0])
            self._refuse("allOf")
        kinds = schema.get("type", _implied(schema))
        names = [kinds] if isinstance(kinds, str) else kinds or _TYPES
        return "(" + " | ".join(self._of_type(kind, schema) for kind in names) + ")"

    def sequence(self, pairs: Sequence[tuple[str, bool]]) -> str:
        """Return an expression for pairs (expression, required) in order, with separators."""
        separator = self._rules.text(self._syntax.separator)

        def tail(index: int, first: bool) -> tuple[str, bool]:
            """Return the expression from pair `index` on, and whether it may be empty."""
            if index == len(pairs):
                return "", True
            expression, required = pairs[index]
            after, after_empty = tail_rule(index + 1, False)
            following = f"({after})?" if after and after_empty else after
            present = f"{'' if first else separator} {expression} {following}".strip()
            if required:
                return present, False
            absent, absent_empty = tail_rule(index + 1, first)
            return (f"{present} | {absent}" if absent else present), absent_empty

        cache: dict[tuple[int, bool], tuple[str, bool]] = {}

        def tail_rule(index: int, first: bool) -> tuple[str, bool]:
            if (index, first) not in cache:
                body, empty = tail(index, first)
                name = self._rules.add("arguments", body) if body else ""
                cache[index, first] = name, empty
            return cache[index, first]

        # From the last pair on, so that long lists do not nest calls of this function.
        for index in reversed(range(len(pairs))):
            tail_rule(index, False)
            tail_rule(index, True)
        whole, empty = tail_rule(0, True)
        return f"({whole})?" if whole and empty else whole

    def _of_type(self, kind: str, schema: Mapping[str, Any]) -> str:
        rules = self._rules
        if kind in ("integer", "number") or (kind == "string" and not self._syntax.string_mark):
            return rules.json({**schema, "type": kind}, strict=self._strict)
        if kind == "string":
            self._check(schema, set())
            mark = rules.text(self._syntax.string_mark)
            return f"{mark} {rules.until(self._syntax.string_mark)}"
        if kind in _KNOWN:
            self._check(schema, _KNOWN[kind])
        if kind == "boolean":
            return rules.choice([self._syntax.true, self._syntax.false])
        if kind == "null":
            return rules.text(self._syntax.null)
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        raise NotEnforceable(f"The schema type {kind!r} is none of JSON Schema's.", "tools")

    def _array(self, schema: Mapping[str, Any]) -> str:
        item = self._rules.add("item", self.value(schema.get("items")))
        least, most = int(schema.get("minItems") or 0), schema.get("maxItems")
        if most == 0:
            return self._rules.text("[]")
        limit = "" if most is None else str(int(most) - 1)
        more = f"({self._rules.text(self._syntax.separator)} {item}){{{max(least - 1, 0)},{limit}}}"
        items = f"{item} {more}"
        body = items if least else f"({items})?"
        return self._rules.add("array", f'"[" {body} "]"')

    def _object(self, schema: Mapping[str, Any]) -> str:
        properties = schema.get("properties") or {}
        required = schema.get("required") or ()
        extra = schema.get("additionalProperties", not properties)
        if not properties and extra is not False:
            key = "/[A-Za-z_][A-Za-z0-9_]{0,63}/"
            if not self._syntax.string_mark:
                key = self._rules.json({"type": "string"}, strict=False)
            colon = self._rules.text(self._syntax.key("").replace('""', ""))
            pair = self._rules.add("pair", f"{key} {colon} {self.value(extra)}")
            separator = self._rules.text(self._syntax.separator)
            body = f"({pair} ({separator} {pair})*)?"
        else:
            body = self.sequence(
                [
                    (
                        f"{self._rules.text(self._syntax.key(name))} {self.value(part)}",
                        name in required,
                    )
                    for name, part in properties.items()
                ]
            )
        return self._rules.add("object", f'"{{" {body} "}}"')

    def _any(self) -> str:
        if "any" not in self._refs:
            name = self._refs["any"] = self._rules.reserve("any")
            self._rules.define(name, " | ".join(self._of_type(kind, {}) for kind in _TYPES))
        return self._refs["any"]

    def _reference(self, ref: str) -> str:
        if ref not in self._refs:
            name = self._refs[ref] = self._rules.reserve("ref")
            target = resolve_ref({"$ref": ref}, self._root)
            if target == {}:
                self._refuse(f"$ref {ref}")
            self._rules.define(name, self.value(target))
        return self._refs[ref]

    def _check(self, schema: Mapping[str, Any], known: set[str]) -> None:
        for keyword in schema:
            if keyword in _LIMITING and keyword not in known:
                self._refuse(keyword)

    def _refuse(self, keyword: str) -> None:
        if self._strict:
            raise NotEnforceable(
                f"The schema keyword {keyword!r} cannot be enforced in this model's tool-call "
                f"dialect ({self._dialect}).",
                "tools",
            )


_LIMITING = frozenset[str](
    (
        *("allOf", "not", "if", "then", "else"),
        *("uniqueItems", "contains", "minContains", "maxContains", "prefixItems"),
        *("unevaluatedItems", "unevaluatedProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas"),
        *("pattern", "format", "minLength", "maxLength"),
    )
)


def _implied(schema: Mapping[str, Any]) -> str | None:
    """Return the type that a schema without `type` implies."""
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else None
