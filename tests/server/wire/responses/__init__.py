"""The types of the Responses API."""
