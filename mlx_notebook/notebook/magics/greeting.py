"""The line that says which server and which model a notebook uses."""

from typing import Any

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.server.server import Server

# A suggestion for a first model. It fits most machines.
SUGGESTED_MODEL = "mlx-community/Qwen3-4B-4bit"


def greeting(server: Server) -> str:
    """Return one line with the server, the model, and a hint if that is a demonstration model."""
    line = f"mlx_notebook: connected to {server.url} ({server.found})"
    if server.is_in_the_clear:
        line += ", without encryption"
    model = connection.default_model()
    get = f"`%mlx load {SUGGESTED_MODEL}`"
    if model is None:
        return f"{line}; no model yet: run {get}."
    line += f"; model {model}"
    if _is_demonstration(server, model):
        line += f", a small demonstration; for a real one run {get}"
    return line + "."


def _is_demonstration(server: Server, name: str) -> bool:
    try:
        models = _models(server)
    except NotebookError:
        return False  # the line is useful without the hint
    return any(m["id"] == name and m.get("source") == "embedded" for m in models)


def _models(server: Server) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = server.get("v1/models")["data"]
    return models
