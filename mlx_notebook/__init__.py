"""Local language and vision models inside Jupyter.

This module imports each of its names when it is first used, so that loading it in a server or a
kernel takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_notebook.notebook.chat.chat import AsyncChat, Chat
    from mlx_notebook.notebook.connection.clients import async_client, client
    from mlx_notebook.notebook.connection.connection import connect
    from mlx_notebook.notebook.conversion.convert import convert
    from mlx_notebook.notebook.errors import NotebookError, Pause
    from mlx_notebook.notebook.evaluation import metrics
    from mlx_notebook.notebook.evaluation.evaluation import Evaluation
    from mlx_notebook.notebook.evaluation.model_comparison import compare
    from mlx_notebook.notebook.evaluation.model_evaluation import evaluate
    from mlx_notebook.notebook.magics.magics import conversation
    from mlx_notebook.notebook.probabilities.look_inside import look_inside
    from mlx_notebook.notebook.sound.speaking import speak
    from mlx_notebook.notebook.sound.transcribing import transcribe
    from mlx_notebook.notebook.tables.table_map import map as map
    from mlx_notebook.notebook.tables.table_rerank import rerank
    from mlx_notebook.notebook.tools.mcp_tools import mcp
    from mlx_notebook.notebook.tools.tool import tool
    from mlx_notebook.notebook.training.finetune import finetune, merge
    from mlx_notebook.notebook.vectors.similarity import cluster, duplicates, nearest
    from mlx_notebook.notebook.vectors.table_embed import embed
    from mlx_notebook.notebook.vectors.vector_plot import vector_plot
    from mlx_notebook.panels.admin.admin_panel import admin_panel
    from mlx_notebook.panels.chat.chat_panel import chat_panel
    from mlx_notebook.panels.dashboard.dashboard_panel import dashboard
    from mlx_notebook.panels.inspector.inspector_panel import inspector
    from mlx_notebook.panels.models.models_panel import models_panel
    from mlx_notebook.panels.stats.stats_panel import stats_panel

__version__ = "0.1.0"

_LAZY = {
    "AsyncChat": "mlx_notebook.notebook.chat.chat",
    "Chat": "mlx_notebook.notebook.chat.chat",
    "Evaluation": "mlx_notebook.notebook.evaluation.evaluation",
    "NotebookError": "mlx_notebook.notebook.errors",
    "Pause": "mlx_notebook.notebook.errors",
    "admin_panel": "mlx_notebook.panels.admin.admin_panel",
    "async_client": "mlx_notebook.notebook.connection.clients",
    "chat_panel": "mlx_notebook.panels.chat.chat_panel",
    "client": "mlx_notebook.notebook.connection.clients",
    "cluster": "mlx_notebook.notebook.vectors.similarity",
    "compare": "mlx_notebook.notebook.evaluation.model_comparison",
    "connect": "mlx_notebook.notebook.connection.connection",
    "conversation": "mlx_notebook.notebook.magics.magics",
    "convert": "mlx_notebook.notebook.conversion.convert",
    "dashboard": "mlx_notebook.panels.dashboard.dashboard_panel",
    "duplicates": "mlx_notebook.notebook.vectors.similarity",
    "embed": "mlx_notebook.notebook.vectors.table_embed",
    "evaluate": "mlx_notebook.notebook.evaluation.model_evaluation",
    "finetune": "mlx_notebook.notebook.training.finetune",
    "inspector": "mlx_notebook.panels.inspector.inspector_panel",
    "look_inside": "mlx_notebook.notebook.probabilities.look_inside",
    "map": "mlx_notebook.notebook.tables.table_map",
    "mcp": "mlx_notebook.notebook.tools.mcp_tools",
    "merge": "mlx_notebook.notebook.training.finetune",
    "metrics": "mlx_notebook.notebook.evaluation",
    "models_panel": "mlx_notebook.panels.models.models_panel",
    "nearest": "mlx_notebook.notebook.vectors.similarity",
    "rerank": "mlx_notebook.notebook.tables.table_rerank",
    "speak": "mlx_notebook.notebook.sound.speaking",
    "stats_panel": "mlx_notebook.panels.stats.stats_panel",
    "tool": "mlx_notebook.notebook.tools.tool",
    "transcribe": "mlx_notebook.notebook.sound.transcribing",
    "vector_plot": "mlx_notebook.notebook.vectors.vector_plot",
}

# Not `map`: after `from mlx_notebook import *` the builtin must still be there.
__all__ = [
    "AsyncChat",
    "Chat",
    "Evaluation",
    "NotebookError",
    "Pause",
    "__version__",
    "admin_panel",
    "async_client",
    "chat_panel",
    "client",
    "cluster",
    "compare",
    "connect",
    "conversation",
    "convert",
    "dashboard",
    "duplicates",
    "embed",
    "evaluate",
    "finetune",
    "inspector",
    "look_inside",
    "mcp",
    "merge",
    "metrics",
    "models_panel",
    "nearest",
    "rerank",
    "speak",
    "stats_panel",
    "tool",
    "transcribe",
    "vector_plot",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Return the server extension for jupyter-server."""
    from mlx_notebook.server.app import MlxNotebookApp

    return [{"module": "mlx_notebook", "app": MlxNotebookApp}]


def load_ipython_extension(ipython: Any) -> None:
    """Register `%mlx` and `%%chat` (called by `%load_ext mlx_notebook`)."""
    from mlx_notebook.notebook.magics.magics import register

    register(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Remove the magics (called by `%unload_ext mlx_notebook`)."""
    from mlx_notebook.notebook.magics.magics import unregister

    unregister(ipython)
