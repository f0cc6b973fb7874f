"""How many files and sockets the engine may have open."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

_ENOUGH = 4096
"""Beyond every file of the largest models, whose weights lie in some hundred of them."""


def raise_limit() -> None:
    """Raise the number of descriptors that may be open as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def kept_limit() -> Iterator[None]:
    """Keep the limit while mlx-lm is imported.

    It sets 2,048 with at most 4,096 at import: that fails where fewer are allowed, and takes away
    where more are.
    """
    setrlimit = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = setrlimit
