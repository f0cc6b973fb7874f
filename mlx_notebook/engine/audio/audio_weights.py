"""Give a model of mlx-audio the weights of a folder."""

from pathlib import Path
from typing import Any

from mlx_audio.utils import apply_quantization, load_weights


def use_weights(model: Any, path: Path, config: dict[str, Any]) -> None:
    """Give a model the weights in the folder `path`. They are read when they are first computed."""
    weights = model.sanitize(load_weights(path))
    apply_quantization(model, config, weights)
    model.load_weights(list(weights.items()))
    model.eval()
