"""A test of the extension in a server that runs inside another program, as pytest-jupyter does it.

Run by `test_app.py` in a process of its own: the plugin takes every async test of a session over.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest

from tests.server.running import HELLO

pytest_plugins = ("pytest_jupyter.jupyter_server",)
Fetch = Callable[..., Awaitable[Any]]


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"mlx_notebook": True}}}


async def test_it_answers_below_a_base_url_with_escapes(jp_fetch: Fetch) -> None:
    models = json.loads((await jp_fetch("v1", "models")).body)
    assert "tiny-chat" in [model["id"] for model in models["data"]]
    body = json.dumps({"messages": HELLO, "max_tokens": 3})
    options = {"method": "POST", "body": body, "request_timeout": 120}
    answer = json.loads((await jp_fetch("v1", "chat", "completions", **options)).body)
    assert answer["object"] == "chat.completion"
    status = json.loads((await jp_fetch("mlx", "status")).body)
    assert psutil.pid_exists(status["engine"]["pid"])
