"""What the head of a request says: its address, and how long its body is."""

import re
from urllib.parse import unquote_plus

from tornado.httputil import HTTPServerRequest

_SECRET = re.compile("token|key|secret|password|auth|xsrf", re.IGNORECASE)


def without_secrets(request: HTTPServerRequest) -> str:
    """Return a request's address with `[secret]` in place of the values that let someone in."""
    path, mark, query = (request.uri or "").partition("?")
    parts = query.split("&")
    for at, part in enumerate(parts):
        name, equals, _ = part.partition("=")
        if equals and _SECRET.search(unquote_plus(name)):
            parts[at] = f"{name}=[secret]"
    return path + mark + "&".join(parts)


def declared_length(text: str) -> int | None:
    """Return what a Content-Length header says, None where it is not one whole number.

    A header that came twice holds both values; Tornado takes it where they are the same.
    """
    values = set(re.split(r",[ \t]*", text))
    value = values.pop()
    return int(value) if not values and re.fullmatch(r"[0-9]{1,18}", value) else None
