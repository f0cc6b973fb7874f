"""Request and response types of Ollama's API, and what they mean for the engine."""
