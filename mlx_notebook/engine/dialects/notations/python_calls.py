"""Parse and write calls in Python, with literals as arguments."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.notations.json_calls import load
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import (
    conform,
    dumps,
    python_literal,
    resolve_ref,
    types_of,
)
from mlx_notebook.engine.functions.declared import Function, python_name
from mlx_notebook.engine.functions.parse_errors import Malformed
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.literals import PYTHON, LiteralRules

_NAME = re.compile(r"[\w.\-]+\Z")
_KEYWORD = re.compile(r"\s*([^\W\d][\w\-]*)\s*=(?!=)")
_TRIPLE = ('"""', "'''")


def call(
    source: TextSource, prefixes: Sequence[str] = (), bare: bool = False, suffix: str = ""
) -> Parsing[None]:
    """Read one call `name(...)` and pass its arguments on one by one.

    `prefixes` are objects that models call functions on, such as `default_api.`, and `suffix` is a
    method of the function. With `bare`, words without quotation marks are strings.

    Raises
    ------
    Malformed
        If an argument is no literal.
    """
    head, _ = yield from source.until("(")
    name = head.strip()
    if not _NAME.match(name):
        source.pos -= len(head) + 1  # what follows may hold other calls
        raise Malformed(f"Expected a function's name before '(' and found {name[:40]!r}.")
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    function = source.start(name.removesuffix(suffix))
    positions = list(function.properties)
    seen: set[str] = set()
    while True:
        text, mark = yield from _argument(source)
        if text.strip():
            key, literal = _split(text, positions, seen, function)
            if key in seen:
                raise Malformed(f"The argument {key!r} is given twice.")
            value = _value(literal, key, function, bare)
            source.arguments(("{" if not seen else ", ") + f"{dumps(key)}: {dumps(value)}")
            seen.add(key)
        if mark == ")":
            source.arguments("}" if seen else "{}")
            return


def _split(text: str, positions: list[str], seen: set[str], function: Function) -> tuple[str, str]:
    """Return the name and the literal of an argument. Without a name it is the next one."""
    keyword = _KEYWORD.match(text)
    if keyword is not None:
        key = keyword.group(1)
        return _declared(key, function), text[keyword.end() :].strip()
    if text.lstrip().startswith("**"):
        raise Malformed("Arguments that are unpacked with ** cannot be read.")
    if len(seen) >= len(positions):
        raise Malformed(f"{function.name!r} got more arguments than it declares.")
    return positions[len(seen)], text.strip()


def _declared(key: str, function: Function) -> str:
    """Return the declared parameter that `key` means; its name may be no identifier."""
    if key in function.properties:
        return key
    return next((name for name in function.properties if python_name(name) == key), key)


def _value(literal: str, key: str, function: Function, bare: bool) -> Any:
    schema = function.properties.get(key)
    root = function.parameters
    try:
        value = python_literal(literal)
    except Malformed:
        # A line break in a string may be written as it is.
        with suppress(Malformed):
            escaped = python_literal(literal.replace("\r", "\\r").replace("\n", "\\n"))
            return conform(escaped, resolve_ref(schema, root), root, literal)
        if bare and not set(literal) & set("()[]{}\"'"):
            return literal
        # An unquoted 02134 or 2024-05-01 is no literal, but a string if one is declared.
        if "string" in types_of(schema, root) and re.fullmatch(r"\d[\w.:+\-/ ]*", literal):
            return literal
        raise
    return conform(value, resolve_ref(schema, root), root, literal)


def _argument(source: TextSource) -> Parsing[tuple[str, str]]:
    """Read an argument. Return its text and the comma or bracket that ends it."""
    depth = 0
    at = 0  # number of characters after `source.pos` that were scanned
    quote = ""  # the quotation mark of the current string
    while True:
        text = source.text
        index = source.pos + at
        while index < len(text):
            if quote:
                found = _QUOTE_END[quote].search(text, index)
                if found is None:
                    index = max(index, len(text) - len(quote) + 1)
                    break
                if found.group() == quote:
                    quote = ""
                elif found.end() == len(text):
                    index = found.start()  # the escaped character has not arrived
                    break
                index = found.end() + (1 if quote else 0)
                continue
            character = text[index]
            if character in "\"'":
                mark = text[index : index + 3]
                if mark == character * len(mark) and len(mark) < 3 and not source.closed:
                    break  # one quotation mark, an empty string, or the first of three
                quote = mark if mark in _TRIPLE else character
                index += len(quote)
                continue
            if character in "([{":
                depth += 1
            elif character in ")]}" and depth:
                depth -= 1
            elif not depth and character in ",)":
                argument = text[source.pos : index]
                source.pos = index + 1
                return argument, character
            index += 1
        at = index - source.pos
        yield from source.more("the arguments")


_QUOTE_END = {quote: re.compile(rf"\\|{quote}") for quote in ('"', "'", *_TRIPLE)}


def write_call(name: str, arguments: str) -> str:
    """Write a call with keyword arguments."""
    found = load(arguments)
    if not isinstance(found, dict):
        raise Malformed("The arguments are not a JSON object.")
    pairs = ", ".join(f"{python_name(key)}={literal(value)}" for key, value in found.items())
    return f"{python_name(name)}({pairs})"


def literal(value: Any) -> str:
    """Return a JSON value as a Python literal, strings in double quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value)
    return dumps(value)


class PythonCalls(Dialect):
    """A dialect whose calls are Python expressions."""

    def write_call(self, name: str, arguments: str) -> str:
        """Write the call with keyword arguments."""
        return write_call(name, arguments)

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for the call with keyword arguments in declared order."""
        literals = LiteralRules(PYTHON, rules, function.parameters, function.strict, self.name)
        required = function.required
        pairs = [
            (f"{rules.text(python_name(key) + '=')} {literals.value(schema)}", key in required)
            for key, schema in function.properties.items()
        ]
        arguments = literals.sequence(pairs)
        return f"{rules.text(python_name(function.name) + '(')} {arguments} {rules.text(')')}"
