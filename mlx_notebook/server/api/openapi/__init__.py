"""Describe the API for programs: `v1/openapi.json`."""
