"""Tool-call dialects: how models write calls, and how that text becomes typed events."""
