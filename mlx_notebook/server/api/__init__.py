"""The HTTP handlers, one folder for each API."""
