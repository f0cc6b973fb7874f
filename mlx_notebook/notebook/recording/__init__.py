"""Recorded runs: record the server's responses in a file, and replay them without a server."""
