"""What the server tells about itself: traces of requests, metrics, and the state of the engine."""
