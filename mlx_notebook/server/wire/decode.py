"""Decode JSON bodies into structs, and explain what is wrong with an invalid body."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import msgspec

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.body import RequestBody
from mlx_notebook.server.wire.bounds import choices, limits, value_at

T = TypeVar("T")

# msgspec ends its messages with the JSON path: "... - at `$.messages[3].content`".
_PLACE = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_BOUND = re.compile(r"expected `(?:int|float)` (?P<sign>[<>]=?) (?P<limit>-?[\d.]+)")
# How msgspec begins its messages about a word that is none of those of a field, or of a tag.
_UNKNOWN_WORD = ("invalid enum value", "invalid value")
# What msgspec says of a text that must hold more than white space.
_BLANK = r"expected `str` matching regex '\\S'"
_COMPARED = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
# The search for an invalid value parses the whole body again, which takes a tenth of a second at
# this size in bytes. Larger bodies get an error without a path.
_LARGEST_SEARCHED = 128 * 1024
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(decoder: msgspec.json.Decoder[T], body: RequestBody | bytes) -> T:
    """Decode and validate a request's body.

    Raises
    ------
    InvalidRequest
        The body is not JSON, or does not fit the type. `param` is the JSON path.
    """
    if isinstance(body, bytes):
        body = RequestBody(body)
    if body.excess:
        raise too_complex(body.excess)
    try:
        if body.large_integer is not None:
            _refuse_large_integer(body)
        return decoder.decode(body.content)
    except msgspec.ValidationError as error:
        raise invalid_value(str(error), type=decoder.type, content=body.content) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _explain_malformed(body, error)


def too_complex(excess: str) -> InvalidRequest:
    """Return the error for a body over a limit; `excess` is `RequestBody.excess`."""
    return InvalidRequest(f"The body {excess}.", code="body_too_complex")


def converted(value: Any, type: type[T], path: str) -> T:
    """Return a part of a decoded body as a struct; `path` is its JSON path in the body.

    Raises
    ------
    InvalidRequest
        It does not fit the type. `param` is the JSON path.
    """
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise invalid_value(str(error), path, type=type) from None


def converted_fields(fields: Mapping[str, str | list[str]], type: type[T]) -> T:
    """Return the fields of a form as a struct. Empty ones and unknown ones are left out.

    Raises
    ------
    InvalidRequest
        One does not fit the type. `param` is its name.
    """
    known = {name: value for name, value in fields.items() if value or name == "file"}
    try:
        return msgspec.convert(known, type, strict=False)
    except msgspec.ValidationError as error:
        raise invalid_value(str(error), type=type) from None


def invalid_value(
    message: str, below: str = "", *, type: Any = None, content: bytes | bytearray = b""
) -> InvalidRequest:
    """Return the error for msgspec's `message` about a value, at a place `below` a path."""
    place = _PLACE.search(message)
    inner = path = place["path"].replace("[...]", "").replace("[]", "") if place else ""
    path = f"{below}.{path}" if path and below and path[0] != "[" else below + path
    what = message[: place.start()] if place else message
    if missing := _MISSING.search(what):
        path = f"{path}.{missing['field']}" if path else missing["field"]
        return InvalidRequest(f"The request needs '{path}'.", param=path, code="missing_parameter")
    what = what[0].lower() + what[1:]
    if what == _BLANK:
        return InvalidRequest(f"'{path}' is blank.", param=path, code="invalid_value")
    if not path:
        return InvalidRequest(f"The body is not valid: {what}.", code="invalid_type")
    if bound := _BOUND.fullmatch(what):
        limit = bound["limit"].removesuffix(".0")
        both = limits(type, inner) if type is not None else None
        one = f"{_COMPARED[bound['sign']]} {limit}"
        said = f"'{path}' must be {both or one}"
        given = value_at(content, path) if 0 < len(content) <= _LARGEST_SEARCHED else None
        said += f"; you gave {given}." if isinstance(given, int | float) else "."
    else:
        said = f"'{path}' is not valid: {what}."
        if what.startswith(_UNKNOWN_WORD) and (words := choices(type, inner) if type else []):
            said += f" Use {'one of: ' if len(words) > 1 else ''}{', '.join(words)}."
    return InvalidRequest(said, param=path, code="invalid_value")


def _explain_malformed(body: RequestBody, error: Exception) -> NoReturn:
    """Raise the error for a body that is not JSON, with the path of a lone surrogate or a NaN."""
    if not body.content.strip():
        raise InvalidRequest("The body is empty: send a JSON object.", code="invalid_json")
    _refuse_unusable(body)
    if isinstance(error, UnicodeDecodeError):
        raise InvalidRequest("The body is not UTF-8.", code="invalid_json")
    raise InvalidRequest(f"The body is not JSON: {error}.", code="invalid_json")


def _refuse_large_integer(body: RequestBody) -> NoReturn:
    _refuse_unusable(body)
    raise InvalidRequest(
        f"The body is not valid: the number {body.large_integer} does not fit 64 bits.",
        code="invalid_value",
    )


def _refuse_unusable(body: RequestBody) -> None:
    """Raise an error for the first value that Python's parser accepts and this API does not."""
    if len(body.content) > _LARGEST_SEARCHED:
        return
    try:
        found = _unusable(json.loads(body.content), "")
    except ValueError:
        return
    if found:
        path, why = found
        raise InvalidRequest(f"'{path}' is not valid: {why}.", param=path, code="invalid_value")


def _unusable(value: Any, path: str) -> tuple[str, str] | None:
    """Return the path of the first value that this API does not accept, and the reason."""
    if isinstance(value, str) and _SURROGATE.search(value):
        return path, "it contains a lone surrogate, which is not a Unicode character"
    if isinstance(value, float) and not math.isfinite(value):
        return path, "it is not a finite number"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return path, "it does not fit 64 bits"
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    return next((found for key, item in children if (found := _unusable(item, key))), None)
