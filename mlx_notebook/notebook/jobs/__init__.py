"""Long jobs of the server, followed from a notebook."""
