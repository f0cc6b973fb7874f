"""Write the files next to the weights: configuration, processors, tokenizer and template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .pictures.pixels import MAX_PIXELS, MERGE, MIN_PIXELS, PATCH

TOKENIZER = Path(__file__).parents[2] / "tiny-chat"
COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def config(shape: Mapping[str, Any], token: Mapping[str, int]) -> dict[str, Any]:
    """Return config.json for the sizes of a `model.Shape` and the ids of the special tokens."""
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "image_token_id": token["<|image_pad|>"],
        "video_token_id": token["<|video_pad|>"],
        "vision_start_token_id": token["<|vision_start|>"],
        "vision_end_token_id": token["<|vision_end|>"],
        "eos_token_id": token["<|im_end|>"],
        "pad_token_id": token["<|endoftext|>"],
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": shape["vocabulary"],
        "text_config": {
            "model_type": "qwen3_vl_text",
            "vocab_size": shape["vocabulary"],
            "hidden_size": shape["hidden"],
            "intermediate_size": shape["feed_forward"],
            "num_hidden_layers": shape["layers"],
            "num_attention_heads": shape["heads"],
            "num_key_value_heads": shape["kv_heads"],
            "head_dim": shape["head"],
            "hidden_act": "silu",
            "rms_norm_eps": shape["norm_eps"],
            "rope_theta": shape["rope_theta"],
            "rope_scaling": {
                "rope_type": "default",
                "mrope_section": list(shape["sections"]),
                "mrope_interleaved": True,
            },
            "max_position_embeddings": shape["context"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": True,
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
            "bos_token_id": None,
            "torch_dtype": "bfloat16",
        },
        "vision_config": {
            "model_type": "qwen3_vl",
            "depth": shape["eye_layers"],
            "hidden_size": shape["eye"],
            "intermediate_size": shape["eye_feed_forward"],
            "num_heads": shape["eye_heads"],
            "out_hidden_size": shape["hidden"],
            "in_channels": 3,
            "patch_size": shape["patch"],
            "spatial_patch_size": shape["patch"],
            "temporal_patch_size": 2,
            "spatial_merge_size": MERGE,
            "num_position_embeddings": shape["eye_positions"] ** 2,
            "deepstack_visual_indexes": [],
            "hidden_act": "gelu_pytorch_tanh",
        },
    }


def processor() -> dict[str, Any]:
    """Return preprocessor_config.json."""
    return {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": MERGE,
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
    }


def video_processor() -> dict[str, Any]:
    """Return video_preprocessor_config.json; if it is missing, mlx-vlm asks the hub for it."""
    given = processor()
    return {
        **given,
        "video_processor_type": "Qwen3VLVideoProcessor",
        "image_processor_type": None,
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": 8 * MAX_PIXELS},
        "fps": 2.0,
        "min_frames": 2,
        "max_frames": 16,
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def special_tokens() -> dict[str, int]:
    """Return the ids of the tokenizer's added tokens."""
    read = json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))
    return {entry["content"]: entry["id"] for entry in read["added_tokens"]}


def write(folder: Path, shape: Mapping[str, Any]) -> None:
    """Write all files except the weights to `folder`; the tokenizer is tiny-chat's."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(TOKENIZER / name, folder / name)
    token = special_tokens()
    _write(folder / "config.json", config(shape, token))
    _write(folder / "preprocessor_config.json", processor())
    _write(folder / "video_preprocessor_config.json", video_processor())
    _write(folder / "processor_config.json", {"processor_class": "Qwen3VLProcessor"})
    _write(
        folder / "generation_config.json",
        {
            "eos_token_id": [token["<|im_end|>"], token["<|endoftext|>"]],
            "pad_token_id": token["<|endoftext|>"],
            "do_sample": False,
        },
    )
