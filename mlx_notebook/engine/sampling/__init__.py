"""Chooses the next token of every row of a batch: sampler, filters and penalties."""
