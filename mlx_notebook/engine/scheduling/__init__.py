"""The scheduler: one step after another for all models and requests."""
