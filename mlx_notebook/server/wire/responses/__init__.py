"""OpenAI's Responses API: requests, items, events and objects."""
