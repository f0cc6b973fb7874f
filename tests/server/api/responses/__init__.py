"""The Responses API on a running server."""
