"""The IPython shell that runs this code, if any, and what its frontend shows."""

import re
import sys
import threading
from typing import Any

_JUPYTER_CLIENT_ID = re.compile(r"_\d+_\d+$")


def shell() -> Any:
    """Return the shell, or `None` in a plain script."""
    module = sys.modules.get("IPython.core.getipython")
    return module.get_ipython() if module is not None else None


def in_kernel() -> bool:
    """Return whether this code runs in a Jupyter kernel."""
    return getattr(shell(), "kernel", None) is not None


def shows_rich_output() -> bool:
    """Return whether the frontend of the running cell renders Markdown and updates outputs.

    Notebooks do; terminal frontends such as `jupyter console` do not. A notebook names the cell in
    its request. A program that runs notebooks (nbclient, papermill) allows no input. The remaining
    frontends differ in their message ids: terminal frontends use jupyter_client, whose ids end in a
    process id and a count.
    """
    if not in_kernel():
        return False
    request: dict[str, Any] = getattr(shell(), "parent_header", None) or {}
    if not request.get("content", {}).get("allow_stdin") or "cellId" in request.get("metadata", {}):
        return True
    return not _JUPYTER_CLIENT_ID.search(request["header"]["msg_id"])


def cell_number() -> int | None:
    """Return the number of the running cell."""
    number: int | None = getattr(shell(), "execution_count", None)
    return number


def in_main_thread() -> bool:
    """Return whether this code runs on the main thread, where cells run."""
    return threading.current_thread() is threading.main_thread()


def can_ask() -> bool:
    """Return whether a person may be there to answer a question.

    A kernel whose frontend allows no input raises an error of its own when the question is asked.
    """
    return in_main_thread() and (in_kernel() or (sys.stdin is not None and sys.stdin.isatty()))


def discard_typed_input() -> None:
    """Discard what was typed before a question. A kernel itself discards such replies."""
    if in_kernel() or sys.stdin is None or not sys.stdin.isatty():
        return
    import termios

    termios.tcflush(sys.stdin, termios.TCIFLUSH)
