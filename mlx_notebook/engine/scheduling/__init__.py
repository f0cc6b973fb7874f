"""Continuous batching: takes commands, prepares requests, and steps all models in turn."""
