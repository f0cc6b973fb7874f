"""The Jupyter server extension: routes, the engine's supervisor, the catalog of models."""
