"""Which models are in memory: loading, the memory budget and eviction."""
