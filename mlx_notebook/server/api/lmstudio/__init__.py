"""Handlers of LM Studio's REST API."""
