"""Which handler answers which route."""
