"""Tool-call dialects, reasoning marks, and the readers that turn a model's text into events."""
