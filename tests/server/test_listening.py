"""A server that runs out of descriptors."""

import os
import signal
import socket
import time
from contextlib import ExitStack

import httpx

from tests.server.running import running, wait_for

LIMIT, CLIENTS = 150, 300
TELLS = "New connections wait"


def test_connections_wait_for_descriptors_while_those_that_are_there_are_served() -> None:
    with running(alone=True, descriptors=LIMIT) as server:
        pid = server.engine_pid_after_a_request()
        began, size = time.monotonic(), len(server.log)
        with ExitStack() as clients:
            for _ in range(CLIENTS):
                client = clients.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", server.port))
            wait_for(lambda: TELLS in server.log, 30)
            # What is there goes on, over its connection, with all that it needs to open.
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: server.status()["engine"]["pid"] not in (pid, None), 60)
            assert server.works()
            time.sleep(2)
            log = server.log[size:]
            assert "Traceback" not in log
            assert log.count(TELLS) <= 1 + (time.monotonic() - began) // 10
            assert len(log) < 5000
        with httpx.Client(base_url=server.url, headers=server.headers, trust_env=False) as client:
            assert client.get("health", timeout=30).json() == {"status": "ok"}
