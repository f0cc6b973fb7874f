"""Speculative decoding: draft models, prompt lookup and their verification."""
