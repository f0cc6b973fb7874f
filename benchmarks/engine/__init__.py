"""Parts of the engine: caches, loading, speculative decoding, ranks."""
