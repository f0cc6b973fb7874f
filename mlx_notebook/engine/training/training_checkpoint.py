"""Checkpoints: everything that training needs to go on as if it had not been interrupted."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from mlx_notebook.protocol import JobValue

_ADAPTER, _OPTIMIZER, _STATE = "adapters.safetensors", "optimizer.safetensors", "state.json"

Curve = list[tuple[str, dict[str, JobValue]]]
"""What was recorded so far: names and values, in order."""


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The folder of a checkpoint: the step that comes next, and what was recorded before it."""

    folder: Path
    step: int
    curve: Curve

    def restore(self, model: Any, optimizer: Any) -> None:
        """Set the adapter and the optimizer to their state at that step."""
        model.load_weights(str(self.folder / _ADAPTER), strict=False)
        optimizer.init(model.trainable_parameters())
        arrays = mx.load(str(self.folder / _OPTIMIZER))
        assert isinstance(arrays, dict)
        optimizer.state = tree_unflatten(list(arrays.items()))
        mx.eval(model.parameters(), optimizer.state)


def save(
    work: Path, fingerprint: str, step: int, curve: Curve, model: Any, optimizer: Any
) -> TrainingCheckpoint:
    """Write a checkpoint in place of the last one, which stays until the new one is complete."""
    new, folder = work / "checkpoint.new", work / "checkpoint"
    shutil.rmtree(new, ignore_errors=True)
    write_adapter(new, model)
    mx.save_safetensors(str(new / _OPTIMIZER), dict(tree_flatten(optimizer.state)))
    noted = {"fingerprint": fingerprint, "step": step, "curve": curve}
    (new / _STATE).write_text(json.dumps(noted), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return TrainingCheckpoint(folder, step, curve)


def write_adapter(folder: Path, model: Any) -> Path:
    """Create a folder with the weights of a model's adapter, and return it."""
    folder.mkdir(parents=True)
    mx.save_safetensors(str(folder / _ADAPTER), dict(tree_flatten(model.trainable_parameters())))
    return folder


def find(work: Path, fingerprint: str) -> TrainingCheckpoint | None:
    """Return the checkpoint of the same training; None if there is none.

    One of other data or settings is left alone: the next `save` replaces it.
    """
    # The new one is all there is if the process was killed between the two steps of the swap.
    for folder in (work / "checkpoint", work / "checkpoint.new"):
        try:
            noted = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if noted.get("fingerprint") == fingerprint:
            return TrainingCheckpoint(
                folder, noted["step"], [tuple(entry) for entry in noted["curve"]]
            )
    return None
