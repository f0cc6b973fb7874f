"""The notebook's functions and MCP servers as tools, running tool calls, and approval."""
