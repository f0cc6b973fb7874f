"""The magics `%%chat`, `%chat`, `%%map` and `%mlx`."""
