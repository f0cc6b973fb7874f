"""Open a base model for training or merging, with the checks of a load."""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_config, load_model, quantize_model

from mlx_notebook.engine.backends.model_loader import adapt_to_device, open_tokenizer
from mlx_notebook.engine.backends.selection import check_folder, refuse_code
from mlx_notebook.engine.errors import LoadFailed, reason

_GROUP = 64


def open_base(
    name: str, path: Path, *, trust_remote_code: bool, bits: int | None = None
) -> tuple[Any, Any, dict[str, Any]]:
    """Return a model, its tokenizer and its configuration.

    Parameters
    ----------
    bits
        Quantise the model to so many bits, if it is not quantised yet.

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    check_folder(name, path)
    if not trust_remote_code:
        refuse_code(name, path)
    try:
        config = load_config(path)
        tokenizer = open_tokenizer(path, config, {"trust_remote_code": trust_remote_code})
        model, config = load_model(path, lazy=True, trust_remote_code=trust_remote_code)
    except (LoadFailed, MemoryError):
        raise
    except Exception as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}", "model") from error
    if bits is not None and "quantization" not in config:
        model, config = quantize_model(model, config, _GROUP, bits)
    return model, tokenizer, config


def place(model: Any) -> None:
    """Convert a model for the device, and read its weights."""
    adapt_to_device(model)
    mx.eval(model.parameters())
