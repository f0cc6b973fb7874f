"""What stands behind the question mark of a URL, checked."""

import re
from collections.abc import Sequence
from typing import TypeVar

from mlx_notebook.server.api.base import ApiHandler
from mlx_notebook.server.errors import InvalidRequest

T = TypeVar("T")


def whole_number(
    handler: ApiHandler, name: str, default: int, least: int, most: int = 2**31 - 1
) -> int:
    """Return a number from the query.

    Raises:
        InvalidRequest: It is no whole number within its bounds.
    """
    text = handler.get_query_argument(name, str(default))
    # int() would take blanks, underscores and other scripts' digits.
    if re.fullmatch(r"-?[0-9]{1,10}", text) and least <= int(text) <= most:
        return int(text)
    raise InvalidRequest(f"'{name}' must be a whole number from {least} to {most}.", param=name)


def one_of(handler: ApiHandler, name: str, default: str, choices: Sequence[str]) -> str:
    """Return one of some words from the query.

    Raises:
        InvalidRequest: It is another one.
    """
    word = handler.get_query_argument(name, default)
    if word not in choices:
        told = ", ".join(repr(choice) for choice in choices)
        raise InvalidRequest(f"'{name}' must be one of {told}.", param=name)
    return word


def flag(handler: ApiHandler, name: str) -> bool:
    """Return whether something is asked for in the query.

    Raises:
        InvalidRequest: It is neither true nor false.
    """
    return one_of(handler, name, "false", ("true", "false", "1", "0")) in ("true", "1")


def several(handler: ApiHandler, name: str, choices: Sequence[str]) -> list[str]:
    """Return words from the query, given as `name=a&name=b` or `name[]=a`.

    Raises:
        InvalidRequest: One of them is not among the choices.
    """
    words = [*handler.get_query_arguments(name), *handler.get_query_arguments(f"{name}[]")]
    for index, word in enumerate(words):
        if word not in choices:
            raise InvalidRequest(
                f"'{name}' holds {word[:100]!r}, which is none of {', '.join(choices)}.",
                param=f"{name}[{index}]",
            )
    return words


def page_after(items: list[T], ids: Sequence[str], after: str, what: str) -> list[T]:
    """Return the items after the one with an id, or all of them where none is named.

    Raises:
        InvalidRequest: There is no such item.
    """
    if not after:
        return items
    if after not in ids:
        raise InvalidRequest(f"There is no {what} {after[:200]!r} in it.", param="after")
    return items[ids.index(after) + 1 :]
