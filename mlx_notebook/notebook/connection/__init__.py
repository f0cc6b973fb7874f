"""Find the server or start one, and create clients for it."""
