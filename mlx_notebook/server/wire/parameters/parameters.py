"""Sort the parameters of a request: the server uses, ignores or refuses each one."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.parameters.unsupported_parameters import Unsupported

IGNORED_HEADER = "x-mlx-ignored-parameters"
NOTICES_HEADER = "x-mlx-notices"
"""What of a request's documents and videos the model does not see."""

# Clients and proxies limit the length of a header, which lists the ignored parameters.
MAX_IGNORED_NAMES, _LONGEST_NAME = 32, 64

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
# What the messages and parts of an answer have besides, which clients send back as they got them.
_OF_ANSWERS = frozenset({"type", "annotations", "logprobs"})


class RequestParameters(Struct, kw_only=True):
    """Base class of the request bodies."""

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored; nested: `options.name`."""
        return frozenset()

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the parameters of other servers that this endpoint refuses."""
        return {}


def ignored_parameters(
    body: bytes | bytearray, request: Any, used: Collection[str] = ()
) -> list[str]:
    """Return the parameters of a request that the server ignores.

    Nested ones are `options.name` or `messages[0].content[1].name`. `body` is the JSON that
    `request` was decoded from. `used` names parameters that an upstream gets, whatever this server
    does with them. Values are skipped, except lists of objects such as messages.

    Raises
    ------
    InvalidRequest
        An unsupported parameter would change the answer. `param` is its name.
    """
    if not isinstance(request, Struct):
        return []
    # Collect all of them before the cut: the last one may raise.
    names = [name for name in _ignored(body, request, request, "", used) if name not in used]
    return [printable(name) for name in names[:MAX_IGNORED_NAMES]]


def unsupported_parameter(name: str, instead: str = "leave it out") -> InvalidRequest:
    """Return the error for a parameter that this server does not support."""
    return InvalidRequest(
        f"'{name}' is not supported by this server: {instead}.",
        param=name,
        code="unsupported_parameter",
    )


def _ignored(
    data: bytes | bytearray | Raw,
    given: Struct,
    request: Struct,
    path: str,
    used: Collection[str],
) -> Iterator[str]:
    fields = _fields(type(given))
    unused = request.unused() if isinstance(request, RequestParameters) else frozenset()
    unsupported = given.unsupported_parameters() if isinstance(given, RequestParameters) else {}
    for name, raw in _MEMBERS.decode(data).items():
        where = path + name
        if name in fields:
            value = getattr(given, fields[name])
            if isinstance(value, Struct):
                yield from _ignored(raw, value, request, f"{where}.", used)
            elif isinstance(value, list) and any(isinstance(item, Struct) for item in value):
                yield from unknown_in_list(msgspec.json.decode(raw), value, where)
            if where in unused and value not in (None, False):
                yield where
        elif name != given.__struct_config__.tag_field:
            known = unsupported.get(name)
            if (
                where not in used
                and known is not None
                and known.has_effect(msgspec.json.decode(raw))
            ):
                raise unsupported_parameter(printable(name), known.instead)
            yield where


def unknown_in_list(given: list[Any], typed: list[Any], path: str) -> Iterator[str]:
    """Yield the fields of a list's objects that their types do not have, unless they are empty.

    `given` is the list as JSON, `typed` the same list decoded, and `path` its JSON path.
    """
    for at, (item, struct) in enumerate(zip(given, typed, strict=True)):
        if isinstance(struct, Struct):
            yield from _unknown(item, struct, f"{path}[{at}]")


def _unknown(given: dict[str, Any], typed: Struct, path: str) -> Iterator[str]:
    fields = _fields(type(typed))
    for name, value in given.items():
        if name in fields:
            child = getattr(typed, fields[name])
            if isinstance(child, Struct):
                yield from _unknown(value, child, f"{path}.{name}")
            elif isinstance(child, list):
                yield from unknown_in_list(value, child, f"{path}.{name}")
        elif (
            name not in _OF_ANSWERS
            and name != typed.__struct_config__.tag_field
            and value is not None
            and value is not False
            and value not in ("", [], {})
        ):
            yield f"{path}.{name}"


@cache
def _fields(kind: type[Struct]) -> dict[str, str]:
    """Return the fields of a struct by their names in JSON."""
    return dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))


def printable(name: str) -> str:
    """Return a name in a form that fits a header: short, ASCII, without commas."""
    shown = name[:_LONGEST_NAME].encode("ascii", "backslashreplace").decode()
    return "".join(
        letter if " " < letter <= "~" and letter != "," else f"\\x{ord(letter):02x}"
        for letter in shown
    )
