"""Connections to real MCP servers, also to bad ones."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.mcp.mcp_session import McpFailed, McpSession, McpSessions
from mlx_notebook.server.mcp.mcp_settings import McpLimits, McpTarget

SERVER = str(Path(__file__).with_name("small_server.py"))
LIMITS = McpLimits(seconds=60, result_bytes=1000, tools=128, rounds=3, sessions=2)
SHORT = msgspec.structs.replace(LIMITS, seconds=0.2)


def target(**env: str) -> McpTarget:
    return McpTarget(name="small", command=(sys.executable, SERVER), env=env)


def script(code: str) -> McpTarget:
    return McpTarget(name="script", command=(sys.executable, "-c", code))


def children() -> list[psutil.Process]:
    return psutil.Process(os.getpid()).children(recursive=True)


def failure(target: McpTarget, limits: McpLimits = LIMITS) -> str:
    """Why a server cannot be used."""

    async def story() -> str:
        session = McpSession(target, limits)
        with pytest.raises(McpFailed) as caught:
            await session.open()
        await session.close()
        return str(caught.value)

    before = children()
    said = asyncio.run(story())
    assert [child for child in children() if child not in before] == []
    return said


def test_a_server_is_used_and_ends() -> None:
    async def story() -> None:
        sessions = McpSessions(LIMITS)
        [session, other] = sessions.reserve([target(), target()])
        with pytest.raises(ApiError, match="mcp_max_sessions"):
            sessions.reserve([target()])
        names = [tool.name for tool in await session.open() if tool.is_read_only]
        assert names == ["greet"]
        assert "hello" in await session.call("greet", {})
        with pytest.raises(McpFailed, match="no luck"):
            await session.call("fail", {})
        # It goes on after a call that takes too long.
        session._limits = SHORT
        with pytest.raises(McpFailed, match=r"0\.2 seconds"):
            await session.call("hang", {})
        await sessions.close()
        assert sessions.reserve([target(), target()])
        await other.close()

    before = children()
    asyncio.run(story())
    assert [child for child in children() if child not in before] == []


def test_a_message_without_an_end_is_no_message() -> None:
    async def story() -> None:
        session = McpSession(target(), LIMITS)
        await session.open()
        with pytest.raises(McpFailed):
            await session.call("flood", {})
        with pytest.raises(McpFailed):
            await session.call("greet", {})
        await session.close()

    asyncio.run(story())


def test_too_many_tools_are_not_used() -> None:
    assert "mcp_max_tools" in failure(target(MANY="200"))


@pytest.mark.parametrize(
    ("code", "limits", "said"),
    [
        ("import time; time.sleep(3600)", SHORT, "mcp_timeout_seconds"),
        ("import sys; sys.exit(3)", LIMITS, ""),
        ("while True: print('x' * 1000, end='')", LIMITS, ""),
        (
            "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(3600)",
            SHORT,
            "mcp_timeout_seconds",
        ),
        (
            "import subprocess, sys, time;"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']);"
            "time.sleep(3600)",
            SHORT,
            "mcp_timeout_seconds",
        ),
    ],
    ids=["silent", "dead", "endless", "stubborn", "parent"],
)
def test_a_program_that_does_not_speak_is_ended(code: str, limits: Any, said: str) -> None:
    assert said in failure(script(code), limits)
