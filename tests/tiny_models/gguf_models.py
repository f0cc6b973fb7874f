"""Tiny GGUF files, written by llama.cpp's own library from models in mlx-lm's format."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.model_files.gguf import gguf_architectures as names
from tests.tiny_models.models import TEMPLATE, build

gguf = pytest.importorskip(
    "gguf", reason="GGUF FILES ARE NOT TESTED: install the package gguf (in the extra `test`)"
)
GGMLQuantizationType, GGUFWriter, quants = gguf.GGMLQuantizationType, gguf.GGUFWriter, gguf.quants

LLAMA = {"model_type": "llama", "rope_theta": 10000.0, "head_dim": 16}
QWEN2 = {"model_type": "qwen2", "rope_theta": 10000.0}
QWEN3 = {"model_type": "qwen3", "rope_theta": 10000.0, "head_dim": 16}
QWEN3_MOE = {
    "model_type": "qwen3_moe",
    "rope_theta": 10000.0,
    "head_dim": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}
_SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
_ARCHITECTURES = {"qwen3_moe": "qwen3moe"}


def gguf_and_folder(
    place: Path, config: dict[str, Any], kind: str = "Q8_0", **metadata: Any
) -> tuple[Path, Path]:
    """Write a random model as a GGUF file, and with the same weights as a folder of safetensors.

    The weights of the folder are what llama.cpp's library reads in the file.

    Parameters
    ----------
    kind
        The type of the matrices. Vectors are always 32-bit floats, as llama.cpp has them.
    metadata
        Texts that replace those of the metadata, by keys with underscores: `general_architecture`.
    """
    import mlx.core as mx
    import numpy as np

    folder = build(place / "folder", {**_SHAPE, **config}, seed=5)
    settings = json.loads((folder / "config.json").read_text())
    architecture = _ARCHITECTURES.get(settings["model_type"], settings["model_type"])
    tensor_names = _tensor_names(architecture, settings)
    file = place / f"model-{kind}.gguf"
    writer = GGUFWriter(file, architecture)
    _write_metadata(writer, settings, folder)
    for key, value in metadata.items():
        writer.kv_data[0].pop(key.replace("__", "."), None)
        writer.add_string(key.replace("__", "."), value)
    type_ = GGMLQuantizationType[kind]
    weights = {}
    for name, array in mx.load(str(folder / "model.safetensors")).items():
        values = np.array(array.astype(mx.float32))
        matrix = values.ndim > 1
        stored = quants.quantize(values, type_ if matrix else GGMLQuantizationType.F32)
        read = quants.dequantize(stored, type_) if matrix else values
        weights[name] = mx.array(read.reshape(values.shape))
        if architecture in names.INTERLEAVED:
            stored = _interleaved(name, stored, settings)
        writer.add_tensor(
            tensor_names[name], stored, raw_dtype=type_ if matrix else GGMLQuantizationType.F32
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return file, folder


def _tensor_names(architecture: str, settings: dict[str, Any]) -> dict[str, str]:
    """Return llama.cpp's names by mlx-lm's, from its own table."""
    from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES, MODEL_TENSORS, TENSOR_NAMES

    (arch,) = [arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture]
    found = {}
    for tensor in MODEL_TENSORS[MODEL_ARCH(arch)]:
        for layer in range(settings["num_hidden_layers"]):
            for leaf in ("weight", "bias"):
                theirs = f"{TENSOR_NAMES[tensor].format(bid=layer)}.{leaf}"
                if (ours := names.module_name(architecture, theirs)) is not None:
                    found[ours] = theirs
    return found


def _interleaved(name: str, stored: Any, settings: dict[str, Any]) -> Any:
    """Return the rows of queries and keys as llama.cpp orders them."""
    for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
        if f".{part}." in name:
            count = settings[heads]
            halves = stored.reshape(count, 2, stored.shape[0] // count // 2, *stored.shape[1:])
            return halves.swapaxes(1, 2).reshape(stored.shape)
    return stored


def _write_metadata(writer: Any, settings: dict[str, Any], folder: Path) -> None:
    writer.add_block_count(settings["num_hidden_layers"])
    writer.add_context_length(settings["max_position_embeddings"])
    writer.add_embedding_length(settings["hidden_size"])
    writer.add_feed_forward_length(settings["intermediate_size"])
    writer.add_head_count(settings["num_attention_heads"])
    writer.add_head_count_kv(settings["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(settings["rms_norm_eps"])
    writer.add_rope_freq_base(settings["rope_theta"])
    if "head_dim" in settings:
        writer.add_key_length(settings["head_dim"])
        writer.add_value_length(settings["head_dim"])
    if "num_experts" in settings:
        writer.add_expert_count(settings["num_experts"])
        writer.add_expert_used_count(settings["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(settings["moe_intermediate_size"])
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = dict(tokenizer["model"]["vocab"])
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    vocabulary.update(special)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_eos_token_id(special["<|im_end|>"])
    writer.add_chat_template(TEMPLATE)
