"""Handle OpenAI's endpoints."""
