"""Vectors of texts: made for the rows of a table, and what they say about the texts."""
