"""Tiny random models, made when a test needs them."""
