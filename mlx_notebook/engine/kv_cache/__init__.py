"""KV caches that are reused: the prefix cache in memory and on disk, and quantised caches."""
