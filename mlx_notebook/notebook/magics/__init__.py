"""The magics `%%chat`, `%chat` and `%mlx`."""
