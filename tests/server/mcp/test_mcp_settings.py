from typing import Any

import pytest

from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.mcp.mcp_settings import McpLimits, McpSettings
from mlx_notebook.server.users.user_limits import UNLIMITED, UserLimit

LIMITS = McpLimits(seconds=1, result_bytes=1, tools=1, rounds=1, sessions=1)
SERVERS: dict[str, Any] = {"files": {"command": ["serve", "/data"], "env": {"A": "b"}}}


def settings() -> McpSettings:
    return McpSettings(SERVERS, ["tools.example", "127.0.0.1:8080", "[::1]:9"], LIMITS)


@pytest.mark.parametrize(
    "url",
    [
        "https://tools.example/mcp",
        "http://tools.example/mcp",
        "http://127.0.0.1:8080/mcp",
        "http://[::1]:9/mcp",
        "https://TOOLS.example:443/",
    ],
)
def test_a_listed_host_is_allowed(url: str) -> None:
    target = settings().target("x", url, {"a": "b"}, UNLIMITED, "tools[0]")
    assert (target.url, target.headers) == (url, {"a": "b"})


@pytest.mark.parametrize(
    "url",
    [
        "https://tools.example:8443/mcp",
        "https://tools.example.evil.example/mcp",
        "https://evil.example/tools.example",
        "https://tools.example@evil.example/mcp",
        "http://127.0.0.1:80/mcp",
        "ftp://tools.example/",
        "ftp://127.0.0.1:8080/",
        "//tools.example/mcp",
        "https://tools.example:99999/",
        "",
    ],
)
def test_no_other_is(url: str) -> None:
    with pytest.raises(ApiError):
        settings().target("x", url, {}, UNLIMITED, "tools[0]")


def test_users_need_the_right() -> None:
    for limit, allowed in [
        (UserLimit(), False),
        (UserLimit(mcp=True), True),
        (UserLimit(mcp=frozenset(["fil*"])), True),
        (UserLimit(mcp=frozenset(["docs"])), False),
        (UNLIMITED, True),
    ]:
        if allowed:
            assert settings().target("files", None, {}, limit, "tools[0]").env == {"A": "b"}
            continue
        with pytest.raises(ApiError, match="user_limits"):
            settings().target("files", None, {}, limit, "tools[0]")


@pytest.mark.parametrize(
    ("servers", "hosts", "said"),
    [
        ({"a": {}}, [], "command"),
        ({"a": {"command": "ls -l"}}, [], "mcp_servers"),
        ({"a": {"command": ["x"], "url": "http://a"}}, [], "either"),
        ({"a": {"url": "file:///x"}}, [], "address"),
        ({"a": {"url": "http://a", "env": {"A": "b"}}}, [], "env"),
        ({"a": {"comand": ["x"]}}, [], "comand"),
        ({}, ["http://a"], "mcp_hosts"),
        ({}, ["*"], "mcp_hosts"),
        ({}, ["a/b"], "mcp_hosts"),
        ({}, ["a:99999"], "mcp_hosts"),
    ],
)
def test_a_wrong_setting_is_named(servers: Any, hosts: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        McpSettings(servers, hosts, LIMITS)
