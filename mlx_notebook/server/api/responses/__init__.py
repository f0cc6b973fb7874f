"""Handlers of OpenAI's Responses and Conversations APIs."""
