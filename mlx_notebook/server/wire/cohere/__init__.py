"""Request and response types of Cohere's and Jina's rerank endpoint."""
