"""Build grammars in llguidance's Lark: literals, special tokens, embedded JSON schemas."""

import json
import re
from collections.abc import Mapping
from typing import Any

# White space inside JSON: one space, or a new line and its indentation. Without this limit, small
# models write spaces until they run out of tokens.
JSON_SPACE = r"(\x20|\x0A(\x20{0,16}|\x09{0,8}))"

# The two notations of JSON that models write on one line. Each fixes what stands between values.
_NOTATIONS = ((", ", ": "), (",", ":"))

_MOST_NOTED = 16_384
"""Bytes of the largest schema that is compiled once for each notation."""

_NEWLINES = re.compile(r"(\n+)")

ANY_TEXT = r"/(?s:.)*/"


class LarkRules:
    """A collection of the rules of one grammar.

    `special` maps the text of each special token to its id. In llguidance, special tokens are not
    text, so literals are split at them.
    """

    def __init__(self, special: Mapping[str, int] | None = None) -> None:
        self._special = dict(special or {})
        names = sorted(self._special, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def is_special(self, text: str) -> bool:
        """Return whether `text` is one special token."""
        return text in self._special

    def text(self, literal: str) -> str:
        """Return an expression that matches exactly `literal`; "" for the empty literal.

        Newlines are literals of their own: llguidance matches the longest literal, so of two with
        a common beginning one would hide the other.
        """
        pieces = self._split.split(literal) if self._split else [literal]
        pieces = [part for piece in pieces for part in _NEWLINES.split(piece)]
        return " ".join(
            f"<[{self._special[piece]}]>" if piece in self._special else quoted(piece)
            for piece in pieces
            if piece
        )

    def choice(self, literals: list[str]) -> str:
        """Return an expression that matches one of `literals`."""
        return "(" + " | ".join(self.text(literal) or '""' for literal in literals) + ")"

    def json(self, schema: Any, *, strict: bool) -> str:
        """Return a rule for the JSON values of `schema`.

        Without `strict`, keywords that llguidance does not know are ignored.
        """
        return self._json(schema, strict, {"whitespace_pattern": JSON_SPACE})

    def json_line(self, schema: Any, *, strict: bool, fixed: bool = False) -> str:
        """Return a rule for the JSON values of `schema` on one line.

        The answer keeps to one notation, with a space after each comma and colon or without. So
        its keys and separators leave no choice, and the row need not generate them one by one.
        White space is free in a schema too large to be compiled for each notation. With `fixed`,
        such a schema is compiled for the first notation alone.
        """
        is_large = len(json.dumps(schema)) > _MOST_NOTED
        if is_large and not fixed:
            return self.json(schema, strict=strict)
        rules = [
            self._json(
                schema,
                strict,
                {"whitespace_flexible": False, "item_separator": item, "key_separator": key},
            )
            for item, key in (_NOTATIONS[:1] if is_large else _NOTATIONS)
        ]
        return self.add("json_line", " | ".join(rules))

    def _json(self, schema: Any, strict: bool, notation: dict[str, Any]) -> str:
        options = {**notation, "json_allow_general_unicode_escapes": True}
        if not strict:
            options["lenient"] = True
        if isinstance(schema, Mapping):
            schema = {**schema, "x-guidance": options}
        elif schema is not False:
            schema = {"x-guidance": options}
        return self.add("json", "%json " + json.dumps(schema))

    def until(self, closing: str) -> str:
        """Return an expression for any text up to and including the literal `closing`."""
        first = self._split.match(closing) if self._split else None
        if first is not None:
            # Special tokens never occur inside text, so one is enough to end it.
            return f"{self.add('TEXT', ANY_TEXT)} {self.text(closing)}"
        cut = self._split.search(closing) if self._split else None
        head, tail = (closing[: cut.start()], closing[cut.start() :]) if cut else (closing, "")
        rule = self.add("span", ANY_TEXT, f"[suffix={quoted(head)}]")
        return f"{rule} {self.text(tail)}".strip()

    def add(self, name: str, body: str, options: str = "") -> str:
        """Add a rule and return its name; equal rules are shared."""
        key = f"{name}{options}: {body}"
        if key not in self._names:
            unique = f"{name}_{len(self._rules)}"
            self._names[key] = unique
            self._rules[unique] = f"{unique}{options}: {body}"
        return self._names[key]

    def reserve(self, name: str) -> str:
        """Reserve the name of a recursive rule, which `define` will define."""
        unique = f"{name}_{len(self._rules)}"
        self._rules[unique] = ""
        return unique

    def define(self, name: str, body: str) -> None:
        """Define a reserved rule."""
        self._rules[name] = f"{name}: {body}"

    def render(self, start: str) -> str:
        """Return the text of the grammar that starts with the expression `start`."""
        return "\n".join(["%llguidance {}", f"start: {start}", *self._rules.values()]) + "\n"


def quoted(text: str) -> str:
    """Return `text` as a Lark string."""
    return json.dumps(text, ensure_ascii=False)
