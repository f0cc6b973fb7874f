"""Processes that stand in for real ones where a fault must be provoked."""
