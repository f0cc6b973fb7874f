"""Recorded runs: what a notebook asked the server, kept in a file and played back."""
