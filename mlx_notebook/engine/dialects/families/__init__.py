"""Tool-call dialects, one file per model family."""
