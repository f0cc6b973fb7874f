"""Batches of rows: their prompts are computed together, and they decode together."""
