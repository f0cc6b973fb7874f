"""Choosing the next token of every sequence: one sampler for the whole batch, penalties,
log probabilities.
"""
