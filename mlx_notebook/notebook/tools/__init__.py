"""The notebook's functions as tools: calling them, and asking before a call."""
