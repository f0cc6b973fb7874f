"""The prefix cache, in memory and on disk, and quantised KV caches."""
