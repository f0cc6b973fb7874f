"""Convert weights to the names and shapes of the folder that mlx-vlm loads, and back."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from .model import Shape

_PATCHES = "model.visual.patch_embed.proj."


def tensors(weights: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Return the weights under transformers' names, in bfloat16."""
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name == "visual.patch_embed.weight":
            # The processor passes a still image as two equal frames.
            square = value.view(shape.eye, 3, 1, shape.patch, shape.patch) / 2
            out[f"{_PATCHES}weight"] = square.repeat(1, 1, 2, 1, 1)
        elif name == "visual.patch_embed.bias":
            out[f"{_PATCHES}bias"] = value
        else:
            out[f"model.{name}"] = value
    return {name: value.to(torch.bfloat16).contiguous() for name, value in out.items()}


def read(folder: Path) -> dict[str, Tensor]:
    """Return an exported folder's weights under the names of `model.TinyVision`, in float32."""
    out: dict[str, Tensor] = {}
    for name, value in load_file(str(folder / "model.safetensors")).items():
        value = value.float()
        if name == f"{_PATCHES}weight":
            out["visual.patch_embed.weight"] = value.sum(2).flatten(1)
        elif name == f"{_PATCHES}bias":
            out["visual.patch_embed.bias"] = value
        else:
            out[name.removeprefix("model.")] = value
    return out
