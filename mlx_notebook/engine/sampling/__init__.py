"""Chooses the next token of every row: one sampler for the whole batch, filters, penalties and log
probabilities.
"""
