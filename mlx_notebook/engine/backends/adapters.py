"""LoRA adapters as mlx-lm trains them. Models with the same base share its weights.

Format: https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/LORA.md
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.utils import load_adapters

from mlx_notebook.engine.errors import reason
from mlx_notebook.model_files.safetensors_headers import read_arrays

_ADAPTER_LEAVES = ("lora_a", "lora_b", "m")
"""Parameters that an adapter adds to a layer. The layer itself is one level further down."""


class BaseWeights:
    """Weights that several models may share. The memory budget counts their `nbytes` once."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes


def apply_adapter(model: Any, folder: Path) -> None:
    """Add an adapter to a model.

    Raises
    ------
    ValueError
        If it does not fit; the message says why.
    """
    for name in ("adapter_config.json", "adapters.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"there is no {name} in the folder of its adapter.")
    if not read_arrays([folder / "adapters.safetensors"]):
        raise ValueError("the adapters.safetensors of its adapter is empty.")
    try:
        load_adapters(model, str(folder))
    except (KeyError, AttributeError) as error:
        raise ValueError(f"the adapter_config.json of its adapter lacks {error}.") from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines()[1:2]]
        detail = lines[0] if lines else reason(error)
        raise ValueError(f"its adapter does not fit: {detail}.") from error
    model.eval()


def replaces_base(folder: Path) -> bool:
    """Return whether an adapter is a full fine-tuning, so that the base cannot be shared."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("fine_tune_type") == "full"


def adapter_bytes(model: Any) -> int:
    """Return the bytes of a model's adapter."""
    return sum(array.nbytes for _, plain, array in _parameters(model) if plain is None)


def share_base(model: Any, other: Any) -> None:
    """Replace the base weights of a model with those of another model of the same folder."""
    arrays = {plain: array for _, plain, array in _parameters(other) if plain is not None}
    shared = [(name, arrays[plain]) for name, plain, _ in _parameters(model) if plain in arrays]
    model.update(tree_unflatten(shared))


def base_names(model: Any) -> dict[str, str]:
    """Return the names of a model's base weights, by their names without an adapter."""
    return {plain: name for name, plain, _ in _parameters(model) if plain is not None}


def _parameters(model: Any) -> Iterator[tuple[str, str | None, mx.array]]:
    """Yield each parameter, with its name in the model and in the base (None: not in the base)."""
    adapted = {name for name, module in model.named_modules() if "lora_a" in module}
    for name, array in tree_flatten(model.parameters()):
        layer, _, leaf = name.rpartition(".")
        if layer in adapted:
            yield name, (None if leaf in _ADAPTER_LEAVES else name), array
            continue
        outer, _, _ = layer.rpartition(".")
        yield name, (f"{outer}.{leaf}" if outer in adapted else name), array
