"""Pass requests on to the mlx-notebook service of a JupyterHub."""
