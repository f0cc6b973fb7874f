"""Tiny random models, built when a test needs an architecture or a vocabulary of its own."""

import json
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if open_thinking %}<think>\n{% endif %}"
)


def byte_tokenizer(folder: Path, *, template: str | None = TEMPLATE) -> int:
    """Write a byte-level tokenizer with chat and thinking marks; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "clean_up_tokenization_spaces": False,
    }
    if template is not None:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


def build(folder: Path, config: dict[str, Any], *, seed: int = 0, **tokenizer: Any) -> Path:
    """A model of any mlx-lm architecture with random weights and a byte-level tokenizer.

    `vocab_size` is added to the configuration.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    folder.mkdir(parents=True, exist_ok=True)
    config = {**config, "vocab_size": byte_tokenizer(folder, **tokenizer)}
    model_class, arguments = _get_classes(config)
    mx.random.seed(seed)
    model = model_class(arguments.from_dict(config))
    # Larger than usual, so that random weights give text that varies.
    weights = {name: value * 3 for name, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def qwen3(folder: Path, *, seed: int = 0, context: int = 2048, **changes: Any) -> Path:
    """A random Qwen3 of two layers."""
    template = changes.pop("template", TEMPLATE)
    config: dict[str, Any] = {
        "model_type": "qwen3",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": context,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        **changes,
    }
    return build(folder, config, seed=seed, template=template)


def gemma3(folder: Path, *, window: int = 32) -> Path:
    """A random Gemma 3 whose every second layer sees a sliding window only."""
    config = {
        "model_type": "gemma3_text",
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "sliding_window": window,
        "sliding_window_pattern": 2,
        "max_position_embeddings": 2048,
    }
    return build(folder, config)


def lfm2(folder: Path) -> Path:
    """A random LFM2: convolution layers with a state that cannot be trimmed, and attention."""
    config = {
        "model_type": "lfm2",
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 64,
        "block_ff_dim": 128,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1, 3],
        "rope_theta": 10000.0,
    }
    return build(folder, config)


TINY_VISION = {
    "vocabulary": 2048, "hidden": 192, "layers": 6, "heads": 4, "kv_heads": 2, "head": 64,
    "feed_forward": 512, "rope_theta": 10000.0, "norm_eps": 1e-6, "context": 4096,
    "sections": (12, 10, 10), "eye": 128, "eye_layers": 4, "eye_heads": 4,
    "eye_feed_forward": 384, "eye_positions": 16, "patch": 8,
}  # fmt: skip


def tiny_vision(folder: Path, *, seed: int = 3) -> Path:
    """A random Qwen3-VL in the layout that tiny-vision is exported in."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.models.qwen3_vl import Model, ModelConfig

    from mlx_notebook.demo_models.training.tiny_vision import folder as files

    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder, TINY_VISION)
    mx.random.seed(seed)
    model = Model(ModelConfig.from_dict(json.loads((folder / "config.json").read_text())))
    weights = {}
    for name, value in tree_flatten(model.parameters()):
        if name.endswith("patch_embed.proj.weight"):
            value = value.transpose(0, 4, 1, 2, 3)
        # The last norm's gain makes the likeliest token stand out from the others.
        gain = 6 if name == "language_model.model.norm.weight" else 1
        name = name.replace("language_model.model", "model.language_model")
        weights[name.replace("vision_tower", "model.visual")] = value * gain
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    return folder
