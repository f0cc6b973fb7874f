"""Run tools of MCP servers for responses: which servers, and the connections to them."""
