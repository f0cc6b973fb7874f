"""Record what the server does: traces of requests, metrics, and the engine's statistics."""
