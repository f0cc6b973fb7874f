"""Start, watch and restart the engine process, and send requests to it."""
