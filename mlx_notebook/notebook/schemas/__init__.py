"""Python types and functions as JSON schemas, and JSON back into them."""
