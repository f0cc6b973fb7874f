"""The IPython that runs this code, if one does; it is never imported for the question."""

import sys
from typing import Any


def shell() -> Any:
    """Give the shell, or `None` in a plain script."""
    module = sys.modules.get("IPython.core.getipython")
    return module.get_ipython() if module is not None else None


def in_notebook() -> bool:
    """Whether this code runs in a kernel with cells."""
    return getattr(shell(), "kernel", None) is not None


def cell_number() -> int | None:
    """Number of the cell that runs."""
    number: int | None = getattr(shell(), "execution_count", None)
    return number
