"""Sort the parameters of a request: the server uses, ignores or refuses each one."""

from collections.abc import Collection, Iterator, Mapping
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
_ITEMS = msgspec.json.Decoder(list[Raw])
# What messages of answers have besides, which clients send back as they got them.
_OF_ANSWERS = frozenset({"annotations", "logprobs"})
_EMPTY = frozenset({b"null", b"[]", b"{}", b'""', b"false"})


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
    does with them. Only names are decoded and values are skipped, so a body of 20 MB takes
    20 milliseconds.

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
    fields = dict(zip(given.__struct_encode_fields__, given.__struct_fields__, strict=True))
    unused = request.unused() if isinstance(request, RequestParameters) else frozenset()
    unsupported = given.unsupported_parameters() if isinstance(given, RequestParameters) else {}
    for name, raw in _MEMBERS.decode(data).items():
        where = path + name
        if name in fields:
            value = getattr(given, fields[name])
            if isinstance(value, Struct):
                yield from _ignored(raw, value, request, f"{where}.", used)
            elif isinstance(value, list):
                yield from _unknown_in(raw, value, where)
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


def _unknown_in(data: Raw, given: list[Any], path: str) -> Iterator[str]:
    """Yield what the objects of a list have and their types do not, unless it is empty."""
    if not any(isinstance(item, Struct) for item in given):
        return
    for at, (raw, item) in enumerate(zip(_ITEMS.decode(data), given, strict=True)):
        if isinstance(item, Struct):
            yield from _unknown(raw, item, f"{path}[{at}].")


def _unknown(data: Raw, given: Struct, path: str) -> Iterator[str]:
    fields = dict(zip(given.__struct_encode_fields__, given.__struct_fields__, strict=True))
    for name, raw in _MEMBERS.decode(data).items():
        if name in fields:
            value = getattr(given, fields[name])
            if isinstance(value, Struct):
                yield from _unknown(raw, value, f"{path}{name}.")
            elif isinstance(value, list):
                yield from _unknown_in(raw, value, path + name)
        elif (
            name not in _OF_ANSWERS
            and name != given.__struct_config__.tag_field
            and bytes(raw) not in _EMPTY
        ):
            yield path + name


def printable(name: str) -> str:
    """Return a name in a form that fits a header: short, ASCII, without commas."""
    shown = name[:_LONGEST_NAME].encode("ascii", "backslashreplace").decode()
    return "".join(
        letter if " " < letter <= "~" and letter != "," else f"\\x{ord(letter):02x}"
        for letter in shown
    )
