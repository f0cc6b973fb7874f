"""JupyterLab's own parts: agent, chat, completions, settings, status bar."""
