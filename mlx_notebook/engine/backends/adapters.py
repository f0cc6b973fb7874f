"""LoRA adapters, as mlx-lm trains them, over a base whose arrays all models of it share.

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

_OWN = ("lora_a", "lora_b", "m")
"""What an adapter adds to a layer; the layer itself is one level further down."""


class Base:
    """Weights that several models may use: counted once. `nbytes` are theirs."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes


def lay(model: Any, folder: Path) -> None:
    """Lay an adapter over a model.

    Raises
    ------
    ValueError
        With a sentence that says why it does not fit.
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
    """Whether an adapter is no adapter but a full fine-tuning, which shares nothing."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("fine_tune_type") == "full"


def own_bytes(model: Any) -> int:
    """What a model's adapter takes, in bytes."""
    return sum(array.nbytes for _, plain, array in _parameters(model) if plain is None)


def share(model: Any, donor: Any) -> None:
    """Let a model use the arrays of another one of the same base in place of its own."""
    arrays = {plain: array for _, plain, array in _parameters(donor) if plain is not None}
    shared = [(name, arrays[plain]) for name, plain, _ in _parameters(model) if plain in arrays]
    model.update(tree_unflatten(shared))


def _parameters(model: Any) -> Iterator[tuple[str, str | None, mx.array]]:
    """Each parameter's name, and its name in the base: None for what an adapter added."""
    adapted = {name for name, module in model.named_modules() if "lora_a" in module}
    for name, array in tree_flatten(model.parameters()):
        layer, _, leaf = name.rpartition(".")
        if layer in adapted:
            yield name, (None if leaf in _OWN else name), array
            continue
        outer, _, _ = layer.rpartition(".")
        yield name, (f"{outer}.{leaf}" if outer in adapted else name), array
