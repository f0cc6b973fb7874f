"""Fetch and check the images of requests."""
