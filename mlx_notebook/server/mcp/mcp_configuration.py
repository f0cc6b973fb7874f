"""Define the settings about MCP servers, whose tools run within responses."""

from typing import Any

from traitlets import Dict, Float, HasTraits, Integer, List, TraitError, Unicode, validate

from mlx_notebook.server.mcp.mcp_settings import McpLimits, McpSettings


class McpConfiguration(HasTraits):
    """Hold the traits about MCP servers."""

    mcp_servers = Dict(
        value_trait=Dict(),
        key_trait=Unicode(),
        help="""MCP servers that a response may use by their names (as server_label), for example
        {"files": {"command": ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"]},
        "docs": {"url": "https://mcp.example/mcp", "headers": {"Authorization": "Bearer ..."}}}.
        command: a program and its arguments, without a shell; with env and folder. It is started
        for each response and runs with the rights of this server. None by default.""",
    ).tag(config=True)

    mcp_hosts = List(
        Unicode(),
        help="""Hosts of MCP servers that a response may name by their address (server_url), for
        example "mcp.example" or "127.0.0.1:8080" (without a port: 80 and 443). None by
        default.""",
    ).tag(config=True)

    mcp_timeout_seconds = Float(
        30.0,
        min=0.1,
        help="Seconds for an MCP server to start and list its tools, and for each call of a tool.",
    ).tag(config=True)

    mcp_max_result_bytes = Integer(
        64 * 1024,
        min=64,
        help="Longest result of an MCP tool, in bytes. A longer one is cut, and says so.",
    ).tag(config=True)

    mcp_max_tools = Integer(
        128, min=1, help="Most tools of an MCP server. One with more is not used."
    ).tag(config=True)

    mcp_max_rounds = Integer(
        16,
        min=1,
        help="""Most times that a response asks the model, with the results of MCP tools in between.
        In the last one the model answers without tools.""",
    ).tag(config=True)

    mcp_max_sessions = Integer(
        32,
        min=1,
        help="Most connections to MCP servers at a time. A response that needs more gets a 429.",
    ).tag(config=True)

    @validate("mcp_servers")
    def _check_mcp_servers(self, proposal: Any) -> Any:
        _check(proposal["value"], [])
        return proposal["value"]

    @validate("mcp_hosts")
    def _check_mcp_hosts(self, proposal: Any) -> Any:
        _check({}, proposal["value"])
        return proposal["value"]

    @property
    def mcp_settings(self) -> McpSettings:
        """The MCP servers that requests may use."""
        limits = McpLimits(
            seconds=self.mcp_timeout_seconds,
            result_bytes=self.mcp_max_result_bytes,
            tools=self.mcp_max_tools,
            rounds=self.mcp_max_rounds,
            sessions=self.mcp_max_sessions,
        )
        return McpSettings(self.mcp_servers, self.mcp_hosts, limits)


def _check(servers: Any, hosts: Any) -> None:
    limits = McpLimits(seconds=1, result_bytes=1, tools=1, rounds=1, sessions=1)
    try:
        McpSettings(servers, hosts, limits)
    except ValueError as error:
        raise TraitError(f"MlxNotebookApp.{error}.") from None
