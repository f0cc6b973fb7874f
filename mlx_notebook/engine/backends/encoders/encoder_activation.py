"""The activation of ModernBERT, as its authors compute it."""

from typing import Any

import mlx.nn as nn


def use_exact_gelu(model: Any) -> None:
    """Let a ModernBERT model compute the activation that its configuration names.

    mlx-vlm approximates it with a tanh, which moves scores by a thousandth. Other models are not
    changed.
    """
    if getattr(model, "model_type", None) != "modernbert":
        return
    for module in model.modules():
        if isinstance(getattr(module, "act", None), nn.GELU):
            module.act = nn.GELU()
