"""The server as a kernel sees it: its routes, its token, and the model of this notebook."""
