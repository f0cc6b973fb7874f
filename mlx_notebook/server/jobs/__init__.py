"""Long jobs: their queue, their processes, and what they have recorded."""
