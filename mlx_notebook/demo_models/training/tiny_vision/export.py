"""Writes a checkpoint as a folder that mlx-vlm (and transformers) load as a `qwen3_vl` model.

`python -m mlx_notebook.demo_models.training.tiny_vision.export CHECKPOINT FOLDER`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from . import folder as files
from .model import Shape
from .train import SHAPE


def tensors(weights: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Return the weights under transformers' names, in bfloat16."""
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name == "visual.patch_embed.weight":
            # The processor shows a still picture twice, one frame after the other.
            square = value.view(shape.eye, 3, 1, shape.patch, shape.patch) / 2
            out["model.visual.patch_embed.proj.weight"] = square.repeat(1, 1, 2, 1, 1)
        elif name == "visual.patch_embed.bias":
            out["model.visual.patch_embed.proj.bias"] = value
        else:
            out[f"model.{name}"] = value
    return {name: value.to(torch.bfloat16).contiguous() for name, value in out.items()}


def export(weights: dict[str, Tensor], shape: Shape, folder: Path) -> None:
    """Write weights, configurations, tokenizer and template into `folder`."""
    files.write(folder, shape.to_dict())
    partial = folder / "model.safetensors.part"
    save_file(tensors(weights, shape), str(partial), metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    export(torch.load(given.checkpoint, weights_only=True)["model"], SHAPE, given.folder)


if __name__ == "__main__":
    main()
