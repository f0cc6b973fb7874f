"""Export a checkpoint to a folder that mlx-vlm (and transformers) load as a `qwen3_vl` model.

`python -m mlx_notebook.demo_models.training.tiny_vision.export CHECKPOINT FOLDER`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from . import folder as files
from .network.model import Shape
from .network.weights import tensors
from .train import SHAPE


def export(weights: dict[str, Tensor], shape: Shape, folder: Path) -> None:
    """Write weights, configurations, tokenizer and template to `folder`."""
    files.write(folder, shape.to_dict())
    partial = folder / "model.safetensors.part"
    save_file(tensors(weights, shape), str(partial), metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    export(torch.load(given.checkpoint, weights_only=True)["model"], SHAPE, given.folder)


if __name__ == "__main__":
    main()
