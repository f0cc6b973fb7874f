"""Handle Anthropic's endpoints."""
