"""Read the head of a request: its address without secrets, and the length of its body."""

import re
from urllib.parse import unquote_plus

from tornado.httputil import HTTPServerRequest

_SECRET = re.compile("token|key|secret|password|auth|xsrf", re.IGNORECASE)


def without_secrets(request: HTTPServerRequest) -> str:
    """Return the address of a request with `[secret]` in place of tokens and passwords."""
    path, mark, query = (request.uri or "").partition("?")
    parts = query.split("&")
    for at, part in enumerate(parts):
        name, equals, _ = part.partition("=")
        if equals and _SECRET.search(unquote_plus(name)):
            parts[at] = f"{name}=[secret]"
    return path + mark + "&".join(parts)


def declared_length(text: str) -> int | None:
    """Return the value of a Content-Length header, None if it is not a whole number.

    If the header came twice, the text has both values. Tornado accepts that if they are equal.
    """
    values = set(re.split(r",[ \t]*", text))
    value = values.pop()
    return int(value) if not values and re.fullmatch(r"[0-9]{1,18}", value) else None
