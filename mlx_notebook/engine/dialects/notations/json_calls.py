"""Parse calls in JSON: values, which are passed on as they arrive, and call objects."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import dumps, python_literal
from mlx_notebook.engine.functions.parse_errors import Malformed, Truncated

_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_STOPS = {quote: re.compile(rf"[{quote}\\]") for quote in "\"'"}
_SCALAR = re.compile(r"[\w+-]")
_SCALAR_STOP = re.compile(r"[\s,:\]}]")
_PYTHON_STRING = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_OPENED = re.compile(r"[\[{]\s*(\S)")
_PYTHON_STRUCTURE = re.compile(r"[\"'{}\[\]]")

NAME_KEYS = ("name", "tool_name")
ARGUMENT_KEYS = ("arguments", "parameters")


def value(source: TextSource, emit: Callable[[str], None] | None = None) -> Parsing[str]:
    """Read one JSON value and return its text. `emit` gets the text piece by piece.

    Raises
    ------
    Malformed
        If the text is not JSON, which is known at its end.
    Truncated
        If the text ends inside the value.
    """
    pieces: list[str] = []

    def take(end: int) -> None:
        piece = source.text[source.pos : end]
        source.pos = end
        if piece:
            pieces.append(piece)
            if emit is not None:
                emit(piece)

    first = yield from source.space()
    if first and first in '{["':
        yield from _bracketed(source, take)
    else:
        if not _SCALAR.match(first):
            raise _missing(source)
        while (stop := _SCALAR_STOP.search(source.text, source.pos)) is None:
            if source.closed:
                break
            yield
        take(stop.start() if stop else len(source.text))
    text = "".join(pieces)
    load(text)
    return text


def _bracketed(source: TextSource, take: Callable[[int], None]) -> Parsing[None]:
    """Read a string, an array or an object to its end. Python's quotation marks count as such."""
    depth = 0
    quoted = ""
    structure = _STRUCTURE
    if source.lenient and source.text[source.pos] != '"':
        while (begun := _OPENED.match(source.text, source.pos)) is None and not source.closed:
            yield
        if begun is not None and begun.group(1) == "'":
            structure = _PYTHON_STRUCTURE
    while True:
        at = source.pos
        text = source.text
        while True:
            found = (_STRING_STOPS[quoted] if quoted else structure).search(text, at)
            if found is None:
                take(len(text))
                break
            at = found.end()
            mark = found.group()
            if mark == "\\":
                if at == len(text):
                    # Leave the backslash unread: the next character belongs to it.
                    take(at - 1)
                    break
                at += 1
                continue
            if mark in "\"'":
                quoted = "" if quoted else mark
            else:
                depth += 1 if mark in "{[" else -1
            if depth <= 0 and not quoted:
                take(at)
                return
        yield from source.more("the arguments")


def load(text: str) -> Any:
    """Decode JSON. Raise Malformed if it is not valid."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise Malformed("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise Malformed(f"The text is not JSON: {error}.") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def json_text(text: str) -> str:
    """Return JSON unchanged, and what models write instead as JSON.

    That is JSON with control characters in its strings, or a Python literal.

    Raises
    ------
    Malformed
        For other text.
    """
    try:
        load(text)
    except Malformed as error:
        with suppress(ValueError, RecursionError):  # then it may be Python
            return dumps(json.loads(text, strict=False, parse_constant=_no_constant))
        try:
            return dumps(python_literal(text))
        except Malformed:
            raise error from None
    return text


def string(source: TextSource) -> Parsing[str]:
    """Read one JSON string, or one of Python's, and return its value."""
    mark = yield from source.space()
    if mark == '"':
        found = load((yield from value(source)))
    elif mark == "'" and source.lenient:
        found = python_literal((yield from _quoted(source)))
    else:
        raise _missing(source, "a string")
    assert isinstance(found, str)
    return found


def _quoted(source: TextSource) -> Parsing[str]:
    """Read a string in single quotation marks, and return it with them."""
    while (found := _PYTHON_STRING.match(source.text, source.pos)) is None:
        yield from source.more("a string")
    source.pos = found.end()
    return found.group()


def arguments(source: TextSource) -> Parsing[None]:
    """Read the arguments of the current call and pass them on as they arrive.

    Besides an object, models write nothing, null, or an object in a string.
    """
    first = yield from source.space()
    if first == "{":
        try:
            yield from value(source, source.arguments)
        except Malformed:
            # Some models write Python dictionaries.
            if not source.can_replace:
                raise
            source.replace(json_text(source.given))
        return
    if not first or first in ",}])":
        source.arguments("{}")
        return
    source.arguments(_object((yield from value(source))))


def _object(text: str) -> str:
    """Convert arguments that are no object to the text of an object."""
    found = load(text)
    if isinstance(found, str):
        text = json_text(found.strip() or "{}")
        found = load(text)
    if found is None:
        return "{}"
    if not isinstance(found, dict):
        raise Malformed("The arguments are not a JSON object.")
    return text


def call(source: TextSource) -> Parsing[None]:
    """Read one object such as `{"name": "f", "arguments": {...}}` as a call.

    The keys may be in any order, and unknown keys are ignored. The call may be nested under
    "function", "tool" or "name", as in OpenAI's format. The last brace may be missing.
    """
    done = yield from _members(source)
    if source.started is None:
        raise Malformed("The JSON object names no function.")
    if not done:
        source.arguments("{}")


def _members(source: TextSource) -> Parsing[bool]:
    """Read a call object and return whether it has arguments."""
    yield from source.expect("{")
    early: str | None = None
    done = False
    while True:
        mark = yield from source.space()
        if mark == "}":
            source.pos += 1
            return done
        if mark == ",":
            source.pos += 1
            continue
        if done and source.lenient and mark not in ("'", '"'):
            return done
        key = yield from string(source)
        yield from source.space()
        yield from source.expect(":")
        mark = yield from source.space()
        naming = source.started is None and key in (*NAME_KEYS, "function", "tool")
        if naming and mark in ("{", '"', "'"):
            if mark == "{":
                done = yield from _members(source)
            else:
                source.start((yield from string(source)))
            if early is not None and not done and source.started is not None:
                source.arguments(_object(early))
                done = True
        elif key in ARGUMENT_KEYS and not done:
            if source.started is None:
                early = yield from value(source)
            else:
                if not mark:
                    raise _missing(source)
                yield from arguments(source)
                done = True
        else:
            yield from value(source)


def calls(source: TextSource, close: str = "]") -> Parsing[None]:
    """Read call objects separated by commas, up to and including `close`."""
    while True:
        mark = yield from source.space()
        if close.startswith(mark or "\0"):
            yield from source.expect(close)
            return
        if mark == ",":
            source.pos += 1
            continue
        yield from call(source)
        source.end()


def render(name: str, arguments_text: str, key: str = "arguments") -> str:
    """Return a call object as chat templates write it."""
    return f'{{"name": {dumps(name)}, "{key}": {arguments_text}}}'


def _missing(source: TextSource, what: str = "a value") -> Exception:
    if source.closed and not source.rest.strip():
        return Truncated("The text ends inside the call.")
    return Malformed(f"Expected {what} and found {source.text[source.pos : source.pos + 20]!r}.")
