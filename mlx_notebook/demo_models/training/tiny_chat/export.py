"""Export a checkpoint to the layout that transformers and mlx-lm load.

``python -m mlx_notebook.demo_models.training.tiny_chat.export CHECKPOINT FOLDER``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .network.model import Shape, Trunk


def export(weights: dict[str, Tensor], shape: Shape, folder: Path) -> None:
    """Write model.safetensors (bfloat16), config.json and generation_config.json to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"model.{name}": value.to(torch.bfloat16).contiguous() for name, value in weights.items()
    }
    partial = folder / "model.safetensors.part"
    save_file(tensors, str(partial), metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")
    from .tokenizer import ADDED, SPARE, SPECIAL, VISION

    first = shape.vocab_size - len((*SPECIAL, *ADDED, *VISION, *SPARE))
    end, pad = first + SPECIAL.index("<|im_end|>"), first + SPECIAL.index("<|endoftext|>")
    config = {**shape.config(), "eos_token_id": end, "pad_token_id": pad, "bos_token_id": None}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    generation = {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False}
    (folder / "generation_config.json").write_text(
        json.dumps(generation, indent=2) + "\n", encoding="utf-8"
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "checkpoint", help="checkpoint of train.py, or 'random' for untrained weights"
    )
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    shape = Shape()
    if arguments.checkpoint == "random":
        torch.manual_seed(0)
        weights = dict(Trunk(shape).state_dict())
    else:
        weights = torch.load(arguments.checkpoint, weights_only=True)["optimizer"]["average"]
    export(weights, shape, arguments.folder)


if __name__ == "__main__":
    main()
