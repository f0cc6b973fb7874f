"""Finding the server, or starting one, and clients for it."""
