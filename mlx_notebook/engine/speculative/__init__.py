"""Speculative decoding: draft models, prompt lookup, and the check of their drafts."""
