"""Separate processes for untrusted input: chat templates, images and grammars."""
