"""`python -m mlx_notebook.server` is `jupyter mlx-notebook`."""

from mlx_notebook.server.app import main

main()
