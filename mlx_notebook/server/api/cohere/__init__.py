"""Handlers of Cohere's and Jina's rerank endpoint."""
