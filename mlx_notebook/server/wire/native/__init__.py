"""Request and response types of the routes below `mlx/`, and of `tokenize`."""
