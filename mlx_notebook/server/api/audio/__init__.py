"""Handlers of speech and transcriptions."""
