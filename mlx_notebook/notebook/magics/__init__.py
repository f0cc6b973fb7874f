"""`%%chat`, `%chat` and `%mlx`."""
