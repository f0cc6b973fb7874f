"""A server as the kernel sees it: its address, token and routes, and the notebook's model."""
