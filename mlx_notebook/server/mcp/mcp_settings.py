"""Say which MCP servers requests may use: what the settings about MCP mean."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mlx_notebook.server.errors import Forbidden, InvalidRequest
from mlx_notebook.server.users.user_limits import UserLimit

_PORTS = {"http": 80, "https": 443}


class McpTarget(msgspec.Struct, frozen=True, kw_only=True):
    """An MCP server: a program to start, or an address.

    Attributes
    ----------
    name
        Name for messages and limits: the configured one, or the host of the address.
    command, env, folder
        Program with its arguments, environment variables for it, and folder in which it runs.
    url, headers
        Address, and HTTP headers for each request to it.
    """

    name: str
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    folder: str | None = None
    url: str = ""
    headers: dict[str, str] = {}


class McpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limit what MCP servers take.

    Attributes
    ----------
    seconds
        Time for a server to start and list its tools, and for each call.
    result_bytes
        Longest result of a call. A longer one is cut.
    tools
        Most tools of a server.
    rounds
        Most times that the model is asked within a response.
    sessions
        Most connections at a time, of all users together.
    """

    seconds: float
    result_bytes: int
    tools: int
    rounds: int
    sessions: int


class _Server(msgspec.Struct, forbid_unknown_fields=True):
    command: list[str] = []
    env: dict[str, str] = {}
    folder: str | None = None
    url: str = ""
    headers: dict[str, str] = {}


class McpSettings:
    """Know the MCP servers that requests may use.

    Parameters
    ----------
    servers
        Configured servers by their names.
    hosts
        Hosts of addresses that requests may name, as `name` or `name:port`.
    limits
        What they may take.

    Raises
    ------
    ValueError
        If a setting is not valid. The message says where.
    """

    def __init__(
        self, servers: Mapping[str, Mapping[str, Any]], hosts: Iterable[str], limits: McpLimits
    ) -> None:
        self._servers = {name: _checked(name, entry) for name, entry in servers.items()}
        self._hosts = frozenset(place for host in hosts for place in _places(host))
        self.limits = limits

    def target(
        self, label: str, url: str | None, headers: Mapping[str, str], user: UserLimit, path: str
    ) -> McpTarget:
        """Return the server that a tool of a request means.

        Parameters
        ----------
        label
            Label of the server. Without a `url` it is the name of a configured one.
        url
            Address of the server.
        headers
            HTTP headers of the request for an address.
        user
            Limits of the user.
        path
            JSON path of the tool in the request.

        Raises
        ------
        ApiError
            If the settings do not allow it.
        """
        if url is None:
            if label not in self._servers:
                raise Forbidden(
                    f"This server has no MCP server {label[:100]!r}. Who runs it lists them in "
                    "MlxNotebookApp.mcp_servers.",
                    param=f"{path}.server_label",
                    code="mcp_not_allowed",
                )
            target = self._servers[label]
            if headers:
                raise InvalidRequest(
                    f"The headers of the MCP server {label!r} are in the server's settings. Leave "
                    "'headers' and 'authorization' out.",
                    param=f"{path}.headers",
                )
        else:
            target = self._remote(url, headers, path)
        if not user.allows("mcp", target.name):
            raise Forbidden(
                f"You may not use the MCP server {target.name!r}. Who runs this server decides "
                "that (MlxNotebookApp.user_limits).",
                param=path,
                code="mcp_not_allowed",
            )
        return target

    def _remote(self, url: str, headers: Mapping[str, str], path: str) -> McpTarget:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            parts, port = urlsplit(""), 0
        host = (parts.hostname or "").lower()
        if parts.scheme not in _PORTS or not host or "@" in parts.netloc or parts.fragment:
            raise InvalidRequest(
                f"'{path}.server_url' must be an http or https address.",
                param=f"{path}.server_url",
                code="invalid_value",
            )
        if (host, port) not in self._hosts:
            raise Forbidden(
                f"This server does not connect to MCP servers at {host[:200]}:{port}. Who runs it "
                "lists their hosts in MlxNotebookApp.mcp_hosts.",
                param=f"{path}.server_url",
                code="mcp_not_allowed",
            )
        return McpTarget(name=host, url=url, headers=dict(headers))


def _checked(name: str, entry: Mapping[str, Any]) -> McpTarget:
    where = f"mcp_servers[{name!r}]"
    try:
        server = msgspec.convert(entry, _Server)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from None
    if bool(server.command) is bool(server.url):
        raise ValueError(f"{where}: give either command (a list of strings) or url")
    if server.url and urlsplit(server.url).scheme not in _PORTS:
        raise ValueError(f"{where}: url is an http or https address, not {server.url!r}")
    if (server.url and (server.env or server.folder)) or (server.command and server.headers):
        raise ValueError(f"{where}: env and folder go with command, headers with url")
    return McpTarget(
        name=name,
        command=tuple(server.command),
        env=server.env,
        folder=server.folder,
        url=server.url,
        headers=server.headers,
    )


def _places(host: str) -> list[tuple[str, int]]:
    """Return the hosts and ports that an entry of `mcp_hosts` allows."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = (parts.hostname or "").lower(), parts.port
        if ":" in name:
            ipaddress.ip_address(name)
    except ValueError:
        name, port = "", None
    if not name or parts.netloc != host or "@" in host or "*" in name:
        raise ValueError(f"mcp_hosts: {host!r} is not a host such as 'mcp.example:8080'")
    return [(name, each) for each in ([port] if port else _PORTS.values())]
