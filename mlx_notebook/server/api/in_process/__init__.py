"""Requests that this server sends to itself for a user: lines of batches, turns of WebSockets."""
