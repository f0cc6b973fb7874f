"""Tokens in the system's keyring, which a process of its own reads and writes.

A keyring may ask for a password, in a window or on the terminal, and wait for ever. The process has
no terminal and a time limit. It runs `python -m mlx_notebook.notebook.connection.keyring_process`:
one JSON object on its standard input, one on its standard output. Tokens are on no command line.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

SERVICE = "mlx-notebook"
SECONDS = 20.0
"""Time for an answer. It is long enough to allow the access in a window."""

# Backends below this priority store nothing, or store it in plain text.
_LOWEST_PRIORITY = 1


class KeyringUnusable(Exception):
    """There is no keyring, or it did not answer. The message says why."""


def get(url: str) -> str | None:
    """Return the token of a server; `None` if the keyring has none.

    Raises
    ------
    KeyringUnusable
        If the keyring cannot be used.
    """
    token = _ask({"do": "get", "url": url})["token"]
    return None if token is None else str(token)


def put(url: str, token: str) -> None:
    """Store the token of a server.

    Raises
    ------
    KeyringUnusable
        If the keyring cannot be used.
    """
    _ask({"do": "put", "url": url, "token": token})


def remove(url: str) -> None:
    """Delete the token of a server, if there is one.

    Raises
    ------
    KeyringUnusable
        If the keyring cannot be used.
    """
    _ask({"do": "remove", "url": url})


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    if importlib.util.find_spec("keyring") is None:
        raise KeyringUnusable("the package keyring is not installed")
    process = subprocess.Popen(
        # -P: a notebook's folder must not replace the modules that handle tokens.
        [sys.executable, "-P", "-m", "mlx_notebook.notebook.connection.keyring_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Away from the terminal, and killed together with what it starts.
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(json.dumps(request).encode(), timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise KeyringUnusable(f"the keyring did not answer within {SECONDS:g} seconds") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    try:
        # A backend may print something too.
        answer = json.loads(out.strip().rpartition(b"\n")[2])
    except ValueError:
        raise KeyringUnusable("the keyring failed") from None
    if not isinstance(answer, dict) or "token" not in answer:
        why = answer.get("unusable") if isinstance(answer, dict) else None
        raise KeyringUnusable(str(why or "the keyring failed"))
    return answer


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks, in the process."""
    import keyring
    from keyring.errors import KeyringError, PasswordDeleteError

    try:
        backend = keyring.get_keyring()
        if _priority(backend) < _LOWEST_PRIORITY:
            return {"unusable": "this machine has no keyring that keeps secrets"}
        match request["do"]:
            case "get":
                return {"token": backend.get_password(SERVICE, request["url"])}
            case "put":
                backend.set_password(SERVICE, request["url"], request["token"])
            case "remove":
                with suppress(PasswordDeleteError):  # it was not there
                    backend.delete_password(SERVICE, request["url"])
    except (KeyringError, OSError, EOFError, RuntimeError) as error:
        return {"unusable": f"the keyring failed: {type(error).__name__}: {error}"}
    return {"token": None}


def _priority(backend: Any) -> float:
    """Return the priority of a backend; of a chain, that of its first link, which stores."""
    links = getattr(backend, "backends", None)
    return (
        max((float(link.priority) for link in links), default=0.0)
        if links
        else float(backend.priority)
    )


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
