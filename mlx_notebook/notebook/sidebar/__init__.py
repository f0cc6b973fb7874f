"""What JupyterLab's sidebar asks a kernel: variables, and the tools of the notebook."""
