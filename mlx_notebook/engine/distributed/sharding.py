"""Divides a model among ranks, with the functions that mlx-lm's models have for it.

Tensor parallelism gives each rank a part of every layer, so that all compute at the same time.
Pipeline parallelism gives each rank some of the layers, so that they compute in turn.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.protocol import ModelOptions

Division = Literal["tensor", "pipeline"]

_HEADS = ("num_attention_heads", "num_key_value_heads")


def choose_division(
    name: str, model: Any, config: dict[str, Any], options: ModelOptions, ranks: int
) -> Division:
    """Choose how to divide a model: as its settings say, or else by tensors where that can be.

    Raises
    ------
    LoadFailed
        If the model or its settings cannot be divided among this many ranks.
    """
    for setting in ("adapter", "draft"):
        if getattr(options, setting):
            raise _refusal(name, f"a model with {setting} runs on one rank only. Remove {setting}.")
    tensor, pipeline = _no_tensors(model, config, ranks), _no_pipeline(model, config, ranks)
    if options.division is not None:
        wrong = tensor if options.division == "tensor" else pipeline
        if wrong is not None:
            raise _refusal(name, f"its division is set to {options.division}, but {wrong}.")
        return options.division
    if tensor is None:
        return "tensor"
    if pipeline is None:
        return "pipeline"
    raise _refusal(name, f"{tensor}, and {pipeline}. Choose another number of ranks or model.")


def keep_part(model: Any, division: Division, group: Any) -> None:
    """Reduce a model, whose weights are not read yet, to the part of this rank."""
    if division == "tensor":
        model.shard(group)
    else:
        model.model.pipeline(group)


def describe_files(path: Path) -> str:
    """Return a value that is the same for copies of a model's folder on several hosts.

    It covers the configuration, and the names and sizes of the weights.
    """
    digest = hashlib.sha256((path / "config.json").read_bytes())
    for file in sorted(path.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return digest.hexdigest()


def _no_tensors(model: Any, config: dict[str, Any], ranks: int) -> str | None:
    """Return why a model cannot be divided by tensors; None if it can."""
    if not hasattr(model, "shard"):
        return "mlx-lm cannot divide its tensors"
    config = config.get("text_config") or config
    for key in _HEADS:
        heads = config.get(key)
        if isinstance(heads, int) and heads % ranks:
            return f"its {heads} {'attention' if key == _HEADS[0] else 'key and value'} heads " + (
                f"cannot be divided among {ranks} ranks"
            )
    return None


def _no_pipeline(model: Any, config: dict[str, Any], ranks: int) -> str | None:
    """Return why the layers of a model cannot be divided; None if they can."""
    if not hasattr(getattr(model, "model", None), "pipeline"):
        return "mlx-lm cannot divide its layers"
    layers = len(model.model.layers)
    return f"it has {layers} layers for {ranks} ranks" if layers < ranks else None


def _refusal(name: str, reason: str) -> LoadFailed:
    return LoadFailed(f"{name} cannot be loaded on several ranks: {reason}", "model")
