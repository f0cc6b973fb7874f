"""Notations of calls that dialects share: JSON, Python, tags, and names with arguments."""
