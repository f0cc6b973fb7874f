"""JSON schemas of Python types and functions, and Python objects from JSON."""
