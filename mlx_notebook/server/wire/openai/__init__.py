"""Request and response types of OpenAI's API."""
