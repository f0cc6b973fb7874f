"""Find, describe, configure and download models."""
