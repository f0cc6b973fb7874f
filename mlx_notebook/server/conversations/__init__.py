"""Keep the conversations of JupyterLab's sidebar."""
