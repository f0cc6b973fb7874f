"""The limit on open files and sockets of the engine."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

_ENOUGH = 4096
"""More than the largest models need, whose weights are in a few hundred files."""


def raise_limit() -> None:
    """Raise the limit on open file descriptors, as far as it is useful and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def kept_limit() -> Iterator[None]:
    """Keep the limit while mlx-lm is imported.

    mlx-lm sets it to 2,048 when it is imported. That fails if fewer are allowed, and lowers the
    limit if more are.
    """
    setrlimit = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = setrlimit
