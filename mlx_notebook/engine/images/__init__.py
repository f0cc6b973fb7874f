"""Image tokens of a batch, and the cache of preprocessed images."""
