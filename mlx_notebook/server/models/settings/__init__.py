"""Settings of single models, and those of all models."""
