"""Say who sends a request, what they may use, and how much of it."""
