"""Coding agents from npm and PyPI, as their users run them."""
