"""Tools of a real MCP server, over stdio and HTTP, called as a chat calls them."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.answers.tool_result import image_parts
from mlx_notebook.notebook.errors import McpFailed
from mlx_notebook.notebook.tools.mcp_tools import mcp
from mlx_notebook.notebook.tools.tool import tools_by_name
from mlx_notebook.notebook.tools.tool_runner import ToolRunner
from tests.notebook.jupyter import wait_for

SERVER = str(Path(__file__).parents[1] / "mcp_server.py")


@pytest.fixture(scope="module")
def small():
    with mcp(sys.executable, SERVER) as server:
        yield server


def call(server, name, arguments="{}"):
    made = ToolCall("call_0", name, arguments)
    list(ToolRunner(tools_by_name([server])).run([made]))
    return made


def test_a_server_tells_its_tools(small):
    assert list(tools_by_name([small])) == ["add", "fail", "draw", "die"]
    definition = small.tools[0].definition["function"]
    assert definition["description"] == "Add two numbers."
    assert definition["parameters"]["required"] == ["a", "b"]


def test_calls_give_text_images_and_errors(small):
    assert call(small, "add", '{"a": 2, "b": 3}').content == "5"
    assert len(image_parts(call(small, "draw").content)) == 1
    failed = call(small, "fail")
    assert failed.state == "failed"
    assert "no luck" in failed.error
    assert call(small, "add", '{"a": 2}').state == "failed"
    assert "must be a JSON object" in call(small, "add", "[]").error


def test_calls_come_from_any_event_loop(small):
    async def main():
        made = ToolCall("call_0", "add", '{"a": 2, "b": 3}')
        async for _ in ToolRunner(tools_by_name([small])).arun([made]):
            pass
        return made.content

    assert asyncio.run(main()) == "5"


@pytest.mark.slow
def test_a_server_that_dies_is_told_in_a_sentence():
    with mcp(sys.executable, SERVER) as server:
        for name in ("die", "add"):
            made = call(server, name, '{"a": 2, "b": 3}' if name == "add" else "{}")
            assert made.state == "failed"
            assert "MCP server" in made.error, made.error
            assert "\n" not in made.error
    assert "is closed" in call(server, "fail").error


@pytest.mark.slow
def test_closing_ends_the_process():
    before = set(psutil.Process().children())
    server = mcp(sys.executable, SERVER)
    (process,) = set(psutil.Process().children()) - before
    server.close()
    server.close()
    wait_for(lambda: not process.is_running(), 10, "the server's end")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("no-such-program-anywhere",), "No such file"),
        ((sys.executable, "-c", "raise SystemExit('not I')"), "not I"),
        (("http://127.0.0.1:9/mcp",), "127.0.0.1:9"),
    ],
)
def test_what_is_no_server_is_told_in_a_sentence(command, said):
    with pytest.raises(McpFailed) as caught:
        mcp(*command)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_server_may_have_an_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _listens(port), 30, "the server")
        with mcp(f"http://127.0.0.1:{port}/mcp", headers={"X-Mine": "1"}) as server:
            assert call(server, "add", '{"a": 2, "b": 3}').content == "5"
    finally:
        process.terminate()
        process.wait()


def _listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
