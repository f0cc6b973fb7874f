"""Conversations: `Chat` and `AsyncChat`, their turns, and saved chats."""
