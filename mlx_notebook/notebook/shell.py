"""The IPython that runs this code, if any, and what its frontend shows; imports nothing."""

import re
import sys
from typing import Any

_JUPYTER_CLIENT_ID = re.compile(r"_\d+_\d+$")


def shell() -> Any:
    """Give the shell, or `None` in a plain script."""
    module = sys.modules.get("IPython.core.getipython")
    return module.get_ipython() if module is not None else None


def in_kernel() -> bool:
    """Whether this code runs in a Jupyter kernel."""
    return getattr(shell(), "kernel", None) is not None


def shows_rich_output() -> bool:
    """Whether the frontend that sent the running cell renders Markdown and updates outputs.

    Notebooks do, and terminal frontends (`jupyter console`, for example) do not. A notebook names
    the cell in its request, or, where a program runs it (nbclient, papermill), takes no input. The
    frontends that remain are told by their message ids: jupyter_client, on which all terminal
    frontends stand, ends them in a process id and a count.
    """
    if not in_kernel():
        return False
    request: dict[str, Any] = getattr(shell(), "parent_header", None) or {}
    if not request.get("content", {}).get("allow_stdin") or "cellId" in request.get("metadata", {}):
        return True
    return not _JUPYTER_CLIENT_ID.search(request["header"]["msg_id"])


def cell_number() -> int | None:
    """Number of the cell that runs."""
    number: int | None = getattr(shell(), "execution_count", None)
    return number
