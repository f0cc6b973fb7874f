"""The panel Activity."""
