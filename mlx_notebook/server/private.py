"""Run the private server of one kernel, where no Jupyter server has the extension.

`python -m mlx_notebook.server.private` reads one JSON line from its standard input,
`{"token": ...}`. When it listens it writes one to its standard output, `{"url": ...}`. It ends when
its standard input closes or its parent process has ended, even if the kernel was killed.
"""

import json
import os
import select
import sys
import threading
import time
from typing import Any

from traitlets.config import Config

from mlx_notebook.server.app import MlxNotebookApp
from mlx_notebook.server.storage.run_folder import run_folder

_PARENT_CHECK_SECONDS = 1.0
_STOP_SECONDS = 15.0


def settings(token: str) -> Config:
    """Return the configuration that makes the server private. It overrides the user's files.

    The user's settings of the extension itself (default model, idle time, ...) stay in force.
    """
    config = Config()
    config.ServerApp.update(
        {
            "ip": "127.0.0.1",
            "port": 0,
            "sock": "",
            "base_url": "/",
            "certfile": "",
            "keyfile": "",
            "client_ca": "",
            "open_browser": False,
            "terminals_enabled": False,
            "allow_origin": "",
            "allow_origin_pat": "",
            "allow_remote_access": False,
            # In a container kernels run as root. The server may do no more than its kernel.
            "allow_root": True,
            "identity_provider_class": "jupyter_server.auth.identity.PasswordIdentityProvider",
            "reraise_server_extension_failures": True,
        }
    )
    config.IdentityProvider.token = token
    config.PasswordIdentityProvider.update({"token": token, "hashed_password": ""})
    return config


def main() -> None:
    """Serve until the parent process has ended."""
    parent = os.getppid()
    token = json.loads(sys.stdin.readline())["token"]
    # The kernel of a service of JupyterHub has this, but its server is no service.
    os.environ.pop("JUPYTERHUB_SERVICE_NAME", None)
    # Jupyter lists running servers in the runtime directory. Use another one, so that no other
    # kernel finds this server, which ends with our kernel.
    with run_folder() as folder:
        server = MlxNotebookApp.initialize_server(  # type: ignore[no-untyped-call]
            argv=[], config=settings(token), runtime_dir=str(folder)
        )
        threading.Thread(
            target=_stop_after_parent, args=(server, parent), name="parent watch", daemon=True
        ).start()
        server.io_loop.add_callback(_announce, server)
        server.start()


def _announce(server: Any) -> None:
    print(json.dumps({"url": server.connection_url}), flush=True)
    # Nobody reads the pipe any more. A library that prints must not fill it and block.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _stop_after_parent(server: Any, parent: int) -> None:
    # The pipe closes at once when the kernel ends. Check the parent's id too, since a fork of the
    # kernel may keep the other end of the pipe open.
    while os.getppid() == parent:
        readable, _, _ = select.select([sys.stdin], [], [], _PARENT_CHECK_SECONDS)
        if readable and not os.read(sys.stdin.fileno(), 4096):
            break
    server.stop(from_signal=True)
    # The process ends while this thread sleeps. If something blocks it, end it anyway.
    time.sleep(_STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
