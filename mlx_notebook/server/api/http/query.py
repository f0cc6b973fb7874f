"""Read and check the query parameters of a URL."""

import re
from collections.abc import Sequence
from typing import TypeVar

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.errors import InvalidRequest

T = TypeVar("T")


def whole_number(
    handler: ApiHandler, name: str, default: int, least: int, most: int = 2**31 - 1
) -> int:
    """Return a whole number.

    Raises
    ------
    InvalidRequest
        If it is not a whole number from `least` to `most`.
    """
    text = handler.get_query_argument(name, str(default))
    # int() would also accept spaces, underscores and digits of other scripts.
    if re.fullmatch(r"-?[0-9]{1,10}", text) and least <= int(text) <= most:
        return int(text)
    raise InvalidRequest(f"'{name}' must be a whole number from {least} to {most}.", param=name)


def one_of(handler: ApiHandler, name: str, default: str, choices: Sequence[str]) -> str:
    """Return one of several words, or the default where the query does not name it.

    Raises
    ------
    InvalidRequest
        If it is not one of them.
    """
    word = handler.get_query_argument(name, None)
    if word is None:
        return default
    if word not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise InvalidRequest(f"'{name}' must be one of {listed}.", param=name)
    return word


def flag(handler: ApiHandler, name: str) -> bool:
    """Return a boolean, False by default.

    Raises
    ------
    InvalidRequest
        If it is neither true nor false.
    """
    return one_of(handler, name, "false", ("true", "false", "1", "0")) in ("true", "1")


def several(handler: ApiHandler, name: str, choices: Sequence[str]) -> list[str]:
    """Return a list of words, given as `name=a&name=b` or `name[]=a`.

    Raises
    ------
    InvalidRequest
        If one of them is not among the choices.
    """
    words = [*handler.get_query_arguments(name), *handler.get_query_arguments(f"{name}[]")]
    for index, word in enumerate(words):
        if word not in choices:
            raise InvalidRequest(
                f"'{name}' has {word[:100]!r}, which is not one of {', '.join(choices)}.",
                param=f"{name}[{index}]",
            )
    return words


def page_after(items: list[T], ids: Sequence[str], after: str, what: str) -> list[T]:
    """Return the items after the one with the id `after`, or all if `after` is empty.

    Raises
    ------
    InvalidRequest
        If there is no such item.
    """
    if not after:
        return items
    if after not in ids:
        raise InvalidRequest(f"There is no {what} {after[:200]!r} in it.", param="after")
    return items[ids.index(after) + 1 :]
