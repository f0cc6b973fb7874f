"""Requests and answers about sound, as in OpenAI's API."""
