"""The panel Users."""
