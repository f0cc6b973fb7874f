"""A request while it runs: its sequences, their output, embeddings and prompt scores."""
