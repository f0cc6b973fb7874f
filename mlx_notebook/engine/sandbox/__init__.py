"""Separate processes for untrusted input: chat templates, images, sound and grammars."""
