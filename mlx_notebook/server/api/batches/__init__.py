"""Handlers of files and batches, and how a batch's lines reach the other handlers."""
