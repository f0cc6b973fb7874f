"""Which models in GGUF files can be loaded: their names of tensors, and their config.json.

Names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#standardized-tensor-names
Each architecture here is one that mlx-lm implements and whose layout llama.cpp keeps, apart from
the order of rows that `INTERLEAVED` names.
"""

from collections.abc import Iterable
from typing import Any

from mlx_notebook.model_files.gguf.gguf_header import GgufHeader
from mlx_notebook.model_files.gguf.gguf_kinds import BY_NAME, READABLE, arrays_in_memory
from mlx_notebook.model_files.safetensors_headers import ArrayInfo

ROPE_FREQUENCIES = "rope_freqs.weight"
"""The tensor with the factors of the rotary frequencies, which the configuration states instead."""

INTERLEAVED = ("llama",)
"""Architectures whose query and key rows llama.cpp reorders: rotary pairs side by side."""

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
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
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.switch_mlp.gate_proj",
    "ffn_up_exps": "mlp.switch_mlp.up_proj",
    "ffn_down_exps": "mlp.switch_mlp.down_proj",
}
# For each architecture: the model type in config.json, its class, and the parts of a layer.
_ARCHITECTURES = {
    "llama": ("llama", "LlamaForCausalLM", _INNER),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", _INNER),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", {**_INNER, **_HEAD_NORMS}),
    "qwen3moe": (
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        {**_INNER, **_HEAD_NORMS, **_EXPERTS},
    ),
}
# Variants of these architectures, which compute something else.
_VARIANTS = (
    *("attention.scale", "attention.clamp_kqv", "logit_scale", "embedding_scale"),
    *("residual_scale", "nextn_predict_layers", "pooling_type"),
)
_INSTEAD = "take the model in MLX's format instead"
# Tokens that end an answer: of a text, of a turn, of a message.
_ENDS = ("eos", "eot", "eom")


def architecture(header: GgufHeader) -> str:
    """Return the architecture that a file names.

    Raises
    ------
    ValueError
        If no model of it can be loaded from GGUF files.
    """
    name = header.metadata.get("general.architecture")
    if name not in _ARCHITECTURES:
        raise ValueError(
            f"its architecture is {str(name)[:100]!r}, and GGUF files are read of "
            f"{', '.join(_ARCHITECTURES)}: {_INSTEAD}"
        )
    return str(name)


def check_loadable(header: GgufHeader) -> None:
    """Check that everything in a file can be loaded.

    Raises
    ------
    ValueError
        If something cannot; the message says what, and what to take instead.
    """
    known = architecture(header)
    values = header.metadata
    if _number(values, "split.count", 1) > 1:
        raise ValueError(f"it is one of several parts of a model: {_INSTEAD}, or one whole file")
    for key in _VARIANTS:
        if values.get(f"{known}.{key}"):
            raise ValueError(f"it is a variant of {known} that is not known ({key}): {_INSTEAD}")
    if known == "llama" and _number(values, "llama.expert_count", 0):
        raise ValueError(f"its architecture is llama with experts: {_INSTEAD}")
    kinds = sorted({tensor.kind for tensor in header.tensors} - set(READABLE))
    if kinds:
        raise ValueError(
            f"its weights are of the type {' and '.join(kinds)}, and only {', '.join(READABLE)} "
            "are read: take a file with one of these types"
        )
    for tensor in header.tensors:
        if tensor.name != ROPE_FREQUENCIES and module_name(known, tensor.name) is None:
            raise ValueError(
                f"it has a tensor that is not known, {tensor.name[:100]!r}: {_INSTEAD}"
            )
    if "token_embd.weight" not in {tensor.name for tensor in header.tensors}:
        raise ValueError("it holds no language model, only a part of one")


def module_name(known: str, tensor: str) -> str | None:
    """Return mlx-lm's name for a tensor such as `blk.3.attn_q.weight`; None if it has none."""
    stem, _, leaf = tensor.rpartition(".")
    if leaf not in ("weight", "bias"):
        return None
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{leaf}"
    match stem.split("."):
        case ["blk", layer, part] if layer.isdecimal() and part in _ARCHITECTURES[known][2]:
            return f"model.layers.{layer}.{_ARCHITECTURES[known][2][part]}.{leaf}"
    return None


def float_type(header: GgufHeader) -> str:
    """Return the type of a model's floats in memory: that of its file, or that of its scales."""
    kinds = {tensor.kind for tensor in header.tensors}
    if kinds == {"F32"}:
        return "F32"
    return "BF16" if kinds <= {"F32", "BF16"} else "F16"


def loaded_arrays(header: GgufHeader) -> list[ArrayInfo]:
    """Return the arrays that the tensors of a file become in memory, by mlx-lm's names."""
    known, dtype = architecture(header), float_type(header)
    return [
        array
        for tensor in header.tensors
        if (name := module_name(known, tensor.name)) is not None
        for array in arrays_in_memory(name, BY_NAME[tensor.kind], _values(tensor.shape), dtype)
    ]


def parameter_count(header: GgufHeader) -> int:
    """Return the number of parameters in a file."""
    return sum(_values(tensor.shape) for tensor in header.tensors)


def config_of(header: GgufHeader) -> dict[str, Any]:
    """Return what config.json would say of the model in a file.

    Raises
    ------
    ValueError
        If a number is missing or is none.
    """
    known = architecture(header)
    model_type, class_name, _ = _ARCHITECTURES[known]
    values = {
        key.removeprefix(f"{known}."): value
        for key, value in header.metadata.items()
        if key.startswith(f"{known}.")
    }
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    heads = _number(values, "attention.head_count")
    width = _number(values, "embedding_length")
    if heads < 1:
        raise ValueError("its attention has no heads")
    head = _number(values, "attention.key_length", width // heads)
    if _number(values, "attention.value_length", head) != head:
        raise ValueError(f"its keys and values have different sizes: {_INSTEAD}")
    if _number(values, "rope.dimension_count", head) != head:
        raise ValueError(f"only a part of its keys is rotated: {_INSTEAD}")
    layers = _number(values, "block_count")
    if layers != (found := _layers(shapes)):
        # Checked first: layers are built before their weights are looked for.
        raise ValueError(f"its metadata tells of {layers} layers, and it has {found}")
    config: dict[str, Any] = {
        "architectures": [class_name],
        "model_type": model_type,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": _number(values, "feed_forward_length", 0),
        "num_attention_heads": heads,
        "num_key_value_heads": _number(values, "attention.head_count_kv", heads),
        "head_dim": head,
        "rms_norm_eps": _float(values, "attention.layer_norm_rms_epsilon"),
        "rope_theta": _float(values, "rope.freq_base", 10000.0),
        "max_position_embeddings": _number(values, "context_length"),
        "vocab_size": shapes.get("token_embd.weight", (0,))[0],
        "tie_word_embeddings": "output.weight" not in shapes,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[float_type(header)],
    }
    if (scaling := _rope_scaling(values)) is not None:
        config["rope_scaling"] = scaling
    if model_type == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in shapes
        config["mlp_bias"] = "blk.0.ffn_up.bias" in shapes
    if model_type == "qwen3_moe":
        config |= {
            "num_experts": _number(values, "expert_count"),
            "num_experts_per_tok": _number(values, "expert_used_count"),
            "moe_intermediate_size": _number(values, "expert_feed_forward_length"),
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
    ends = [header.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in _ENDS]
    config["eos_token_id"] = list(dict.fromkeys(end for end in ends if isinstance(end, int)))
    return config


def _layers(names: Iterable[str]) -> int:
    """Return the number of layers that tensors belong to."""
    return len({name.split(".")[1] for name in names if name.startswith("blk.")})


def _rope_scaling(values: dict[str, Any]) -> dict[str, Any] | None:
    kind = values.get("rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        raise ValueError(f"its rotary positions are scaled by {str(kind)[:100]!r}: {_INSTEAD}")
    scaling: dict[str, Any] = {"type": kind, "factor": _float(values, "rope.scaling.factor")}
    if kind == "yarn":
        context = "rope.scaling.original_context_length"
        scaling["original_max_position_embeddings"] = _number(values, context)
    return scaling


def _number(values: dict[str, Any], key: str, default: int | None = None) -> int:
    value = values.get(key, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"its metadata says nothing of use about {key}")
    return value


def _float(values: dict[str, Any], key: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if not isinstance(value, float) or not value > 0:
        raise ValueError(f"its metadata says nothing of use about {key}")
    return value


def _values(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count
