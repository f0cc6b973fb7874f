"""Long jobs: what they do, whose turn it is, and their processes."""
