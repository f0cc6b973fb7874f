"""Ids and creation times of API objects."""

import secrets
import string
import time

_LETTERS = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """Return an id that cannot be guessed: the prefix and 12 random characters."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(12))


def now() -> int:
    """Return the Unix time in seconds, as in OpenAI's `created` fields."""
    return int(time.time())
