"""Compare and measure models: `compare`, `evaluate`, and the metrics of answers."""

from mlx_notebook.notebook.evaluation import metrics

__all__ = ["metrics"]
