"""Say who sends a request."""
