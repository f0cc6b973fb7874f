"""Request and response types of each API."""
