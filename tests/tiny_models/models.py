"""Tiny random models, for tests that need their own architecture or vocabulary."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if open_thinking %}<think>\n{% endif %}"
)

VISION = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
VISION_TEMPLATE = (
    "{% if bare %}{% for m in messages %}{% for p in m.content %}<|image_pad|>{% endfor %}"
    "{% endfor %}{% else %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}{% if p.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if open_thinking %}<think>\n{% endif %}{% endif %}"
)


def byte_tokenizer(
    folder: Path, *, template: str | None = TEMPLATE, special: Sequence[str] = ()
) -> int:
    """Write a byte-level tokenizer with chat, reasoning and other markers. Return its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    thinking = ["<think>", "</think>"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *thinking, *special, *VISION]
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
    """Write a model of any mlx-lm architecture with random weights and a byte-level tokenizer.

    `vocab_size` is added to the configuration.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    folder.mkdir(parents=True, exist_ok=True)
    size = byte_tokenizer(folder, **tokenizer)
    config = {**config, "vocab_size": size}
    if "text_config" in config:
        config["text_config"] = {**config["text_config"], "vocab_size": size}
    model_class, arguments = _get_classes(config)
    mx.random.seed(seed)
    model = model_class(arguments.from_dict(config))
    # Larger than usual, so that random weights give text that varies.
    weights = {name: value * 3 for name, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def qwen3(folder: Path, *, seed: int = 0, context: int = 2048, **changes: Any) -> Path:
    """Write a random Qwen3 with two layers."""
    template, special = changes.pop("template", TEMPLATE), changes.pop("special", ())
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
    return build(folder, config, seed=seed, template=template, special=special)


def gemma3(folder: Path, *, window: int = 32) -> Path:
    """Write a random Gemma 3 with a sliding window in every second layer."""
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
    """Write a random LFM2: attention, and convolution layers whose state cannot be trimmed."""
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


def qwen35(folder: Path, *, context: int = 2048) -> Path:
    """Write a random Qwen3.5: attention, and layers of the gated delta rule with their states."""
    text = {
        "model_type": "qwen3_5_text",
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 128,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "full_attention_interval": 2,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
    }
    return build(
        folder, {"model_type": "qwen3_5", "tie_word_embeddings": True, "text_config": text}
    )


TINY_VISION = {
    "vocabulary": 2048, "hidden": 192, "layers": 6, "heads": 4, "kv_heads": 2, "head": 64,
    "feed_forward": 512, "rope_theta": 10000.0, "norm_eps": 1e-6, "context": 4096,
    "sections": (12, 10, 10), "eye": 128, "eye_layers": 4, "eye_heads": 4,
    "eye_feed_forward": 384, "eye_positions": 16, "patch": 8,
}  # fmt: skip


def tiny_vision(folder: Path, *, seed: int = 3, **changes: Any) -> Path:
    """Write a random Qwen3-VL in the layout of tiny-vision, or with other sizes."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.models.qwen3_vl import Model, ModelConfig

    from mlx_notebook.demo_models.training.tiny_vision import folder as files

    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder, {**TINY_VISION, **changes})
    mx.random.seed(seed)
    model = Model(ModelConfig.from_dict(json.loads((folder / "config.json").read_text())))
    weights = {}
    for name, value in tree_flatten(model.parameters()):
        if name.endswith("patch_embed.proj.weight"):
            value = value.transpose(0, 4, 1, 2, 3)
        # The gain of the last norm makes the likeliest token much likelier than the others.
        gain = 6 if name == "language_model.model.norm.weight" else 1
        name = name.replace("language_model.model", "model.language_model")
        weights[name.replace("vision_tower", "model.visual")] = value * gain
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    return folder


def qwen_vl(folder: Path, kind: str = "qwen3_vl", *, seed: int = 0, context: int = 4096) -> Path:
    """Write a random Qwen-VL (`qwen3_vl` with deepstack, or `qwen2_vl`) in its original layout."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.utils import get_model_and_args, update_module_configs

    folder.mkdir(parents=True, exist_ok=True)
    size = byte_tokenizer(folder, template=VISION_TEMPLATE)
    tokens = dict(zip(VISION, range(size - len(VISION), size), strict=True))
    text: dict[str, Any] = {
        "model_type": f"{kind}_text",
        "vocab_size": size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 2, 2]},
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
    }
    vision: dict[str, Any] = {
        "model_type": kind,
        "depth": 2,
        "num_heads": 2,
        "in_channels": 3,
        "patch_size": 8,
        "temporal_patch_size": 2,
        "spatial_patch_size": 8,
        "spatial_merge_size": 2,
        "hidden_size": 32,
    }
    if kind == "qwen3_vl":
        text["rope_scaling"]["mrope_interleaved"] = True
        vision |= {
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
            "hidden_act": "gelu_pytorch_tanh",
        }
    else:
        vision |= {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    config = {
        "model_type": kind,
        "image_token_id": tokens["<|image_pad|>"],
        "video_token_id": tokens["<|video_pad|>"],
        "vision_start_token_id": tokens["<|vision_start|>"],
        "vision_end_token_id": tokens["<|vision_end|>"],
        "eos_token_id": size - len(VISION) - 3,
        "vocab_size": size,
        "tie_word_embeddings": True,
        "vision_config": vision,
        **({"text_config": text} if kind == "qwen3_vl" else {**text, "model_type": kind}),
    }
    (folder / "config.json").write_text(json.dumps(config))
    processor = {
        "patch_size": 8,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 32 * 32, "longest_edge": 256 * 256},
        "min_pixels": 32 * 32,
        "max_pixels": 256 * 256,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen3VLProcessor" if kind == "qwen3_vl" else "Qwen2VLProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps({**processor, "video_processor_type": "Qwen2VLVideoProcessor"})
    )
    module, _ = get_model_and_args(config)
    given = module.ModelConfig.from_dict(dict(config))
    parts = dict(config)
    parts.setdefault("text_config", dict(config))
    given = update_module_configs(given, module, parts, ["text", "vision"])
    mx.random.seed(seed)
    model = module.Model(given)
    weights = {}
    for name, value in tree_flatten(model.parameters()):
        # Larger than usual, so that random weights give text that varies.
        weights[name] = value * 3
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder
