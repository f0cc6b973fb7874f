"""Answers, tool calls and progress bars in cells and terminals."""
