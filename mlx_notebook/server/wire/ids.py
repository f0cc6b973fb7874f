"""Ids and times of the objects that the API creates."""

import secrets
import string
import time

_LETTERS = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """Return an id that nobody can guess: the prefix and 12 characters."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(12))


def now() -> int:
    """Return the time as OpenAI's `created` fields hold it."""
    return int(time.time())
