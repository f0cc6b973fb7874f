"""A server whose clients are cut off without a word.

Run in a network namespace of its own:
`unshare -rn python -m tests.server.stand_ins.unplugged MODELS_DIR`.
"""

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import httpx
import psutil

from tests.server.running import HELLO, RunningServer, running, wait_for

SECONDS = 2.0
LONG = {"max_tokens": 30000, "ignore_eos": True, "model": "long", "messages": HELLO}


def link(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


def client(server: RunningServer, method: str, path: str, **body: object) -> socket.socket:
    """A connection on which a request was sent, and whose answer nobody reads."""
    data = json.dumps(body).encode() if body else b""
    head = (
        f"{method} /nb/{path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(head.encode() + data)
    return connection


def connected(server: RunningServer) -> int:
    """How many clients the server holds to be there."""
    return sum(
        connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == server.port
        for connection in psutil.Process(server.process.pid).net_connections("tcp")
    )


def main(models_dir: str) -> None:
    link("up")
    settings = {"models_dirs": [models_dir], "keep_alive_seconds": SECONDS}
    with ExitStack() as clients, running(config={"MlxNotebookApp": settings}) as server:
        server.chat(model="long")
        for stream in (True, False):
            path = "v1/chat/completions"
            clients.enter_context(client(server, "POST", path, **LONG, stream=stream))
        clients.enter_context(client(server, "GET", "mlx/events"))
        wait_for(lambda: len(server.status()["requests"]) == 2, 30)
        # A client that is there and reads nothing, so that nothing more can be sent, is kept.
        time.sleep(3 * SECONDS)
        assert len(server.status()["requests"]) == 2
        assert connected(server) == 4
        server.client.close()
        link("down")
        wait_for(lambda: connected(server) == 0, 60)
        link("up")
        server.client = httpx.Client(base_url=server.url, headers=server.headers, trust_env=False)
        assert server.wait_until_idle()["queue"]["rows"] == 0
    print("all clients were given up")


if __name__ == "__main__":
    main(sys.argv[1])
