"""The panel Models."""
