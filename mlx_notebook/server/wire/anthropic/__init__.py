"""Request and response types of Anthropic's API."""
