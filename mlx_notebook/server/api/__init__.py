"""Handle HTTP requests, with one folder for each API."""
