"""Fetch and check the images, sounds, PDFs and videos of requests."""
