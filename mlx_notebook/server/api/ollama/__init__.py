"""Handlers of Ollama's API."""
