"""Write formats and forbidden texts of JSON schemas as regular expressions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# https://www.rfc-editor.org/rfc/rfc3986#appendix-A, without numbers in brackets as hosts.
_CHARACTER = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@{more}-]|%[0-9A-Fa-f]{{2}})"
_NO_COLON = r"(?:[A-Za-z0-9._~!$&'()*+,;=@{more}-]|%[0-9A-Fa-f]{{2}})"
_UNICODE = r"\u00A0-\uD7FF"  # https://www.rfc-editor.org/rfc/rfc3987, without rare planes


def _reference(more: str, *, is_relative: bool) -> str:
    any_, first = (one.format(more=more) for one in (_CHARACTER, _NO_COLON))
    tail = f"(?:/{any_}*)*"
    user = first.replace("@", "").replace("=", "=:")
    host = f"//(?:{user}*@)?[A-Za-z0-9.{more}-]*(?::[0-9]+)?{tail}"
    rooted = f"/(?:{any_}+{tail})?"
    scheme = f"[A-Za-z][A-Za-z0-9+.-]*:(?:{host}|{rooted}|{any_}+{tail})?"
    relative = f"|(?:{host}|{rooted}|{first}+{tail})?" if is_relative else ""
    return rf"^(?:{scheme}{relative})(?:\?(?:{any_}|[/?])*)?(?:#(?:{any_}|[/?])*)?$"


_POINTER = r"(?:/(?:[^~/]|~[01])*)*"
_VARIABLE = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*(?::[1-9][0-9]{0,3}|\*)?"
PATTERNS = {
    "uri-reference": _reference("", is_relative=True),
    "iri": _reference(_UNICODE, is_relative=False),
    "iri-reference": _reference(_UNICODE, is_relative=True),
    # https://www.rfc-editor.org/rfc/rfc6570#section-2
    "uri-template": (
        r"^(?:[A-Za-z0-9._~:/?#@!$&()*+,;=-]|%[0-9A-Fa-f]{2}"
        rf"|\{{[+#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}})*$"
    ),
    # https://www.rfc-editor.org/rfc/rfc6901#section-3
    "json-pointer": f"^{_POINTER}$",
    "relative-json-pointer": f"^(?:0|[1-9][0-9]*)(?:#|{_POINTER})$",
}
"""Formats that llguidance does not know, as regular expressions. Each accepts only valid texts."""

# Leap seconds are right at few times of few days, so llguidance's `:60` is wrong almost always.
BESIDE = {
    "date-time": "^[^:]*:[0-9]{2}:[0-5]",
    "time": "^[0-9]{2}:[0-9]{2}:[0-5]",
}
"""What holds beside formats that llguidance knows."""

_KNOWN = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
    *("unknown", "idn-email", "idn-hostname"),
)


def with_pattern(schema: Mapping[str, Any], pattern: str) -> dict[str, Any]:
    """Return a schema whose texts also match a pattern."""
    if "pattern" not in schema:
        return {**schema, "pattern": pattern}
    return {**schema, "allOf": [*schema.get("allOf", ()), {"pattern": pattern}]}


def without_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with a pattern in place of a format that llguidance does not know.

    A format that nobody knows is an annotation, and so is `regex`, which no pattern can say.
    """
    name = schema.get("format")
    if not isinstance(name, str):
        return schema
    if name in BESIDE:
        return with_pattern(schema, BESIDE[name])
    if name in _KNOWN:
        return schema
    rest = {key: value for key, value in schema.items() if key != "format"}
    return with_pattern(rest, PATTERNS[name]) if name in PATTERNS else rest


def other_than(texts: Iterable[str]) -> str:
    """Return a pattern for all texts but these."""
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for character in text:
            node = node.setdefault(character, {})
        node[""] = {}
    return f"^{_other(tree)}$"


def _other(node: dict[str, Any]) -> str:
    """Return what may follow the beginning of a forbidden text."""
    following = [character for character in node if character]
    if not following:
        return r"[\s\S]+"
    inside = "".join(
        rf"\{one}" if one in r"\]^-[" else re.escape(one) if not one.isprintable() else one
        for one in following
    )
    ways = [rf"[^{inside}][\s\S]*"]
    ways += [re.escape(one) + _other(node[one]) for one in following]
    return f"(?:{'|'.join(ways)})" + ("" if "" in node else "?")
