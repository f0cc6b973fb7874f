"""Requests, their rows in the batch of a model, and the events that their tokens become."""
