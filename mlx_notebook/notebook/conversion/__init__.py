"""Conversion of models from a notebook."""
