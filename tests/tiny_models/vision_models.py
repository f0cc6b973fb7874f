"""Tiny random vision models of several architectures, in the layout of their authors."""

import copy
import json
from pathlib import Path
from typing import Any

from tests.tiny_models.models import VISION, VISION_TEMPLATE, byte_tokenizer

_TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
}
_EYES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 64,
    "num_channels": 3,
}
_PIXELS: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_convert_rgb": True,
}
SMOLVLM_TEMPLATE = (
    "{% for m in messages %}{{ m.role | capitalize }}"
    "{{ ':' if m.content[0].type == 'image' else ': ' }}"
    "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}"
    "{% elif p.type == 'image' %}<image>{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _build(folder: Path, config: dict[str, Any], **files: dict[str, Any]) -> Path:
    """Write configurations and random weights; each file is `name.json`."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.utils import get_model_and_args, update_module_configs

    for name, content in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    module, _ = get_model_and_args(config)
    given = module.ModelConfig.from_dict(copy.deepcopy(config))
    parts = [part for part in ("text", "vision", "audio") if f"{part}_config" in config]
    given = update_module_configs(given, module, copy.deepcopy(config), parts)
    mx.random.seed(0)
    # Larger than usual and uneven, so that random weights give text that varies.
    weights = {
        name: value * 3
        if value.ndim > 1 and value.any()
        else value + mx.random.normal(value.shape) / 10
        for name, value in tree_flatten(module.Model(given).parameters())
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


def _with_weights(folder: Path, part: str, factor: float) -> Path:
    """Multiply the weights whose name contains `part`."""
    import mlx.core as mx

    file = str(folder / "model.safetensors")
    weights: Any = mx.load(file)
    changed = {name: value * (factor if part in name else 1) for name, value in weights.items()}
    mx.eval(changed)
    mx.save_safetensors(file, changed, {"format": "mlx"})
    return folder


def _tokens(folder: Path, template: str, special: list[str], **settings: Any) -> dict[str, int]:
    """Write a tokenizer. Return the ids of its special tokens, and its `size`."""
    folder.mkdir(parents=True)
    size = byte_tokenizer(folder, template=template, special=special)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    known = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    return {**{token["content"]: token["id"] for token in known}, "size": size}


def gemma3(folder: Path) -> Path:
    """Sliding windows, and images with line breaks and markers around them."""
    begin, end, pixel = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
    marks = {"boi_token": begin, "eoi_token": end, "image_token": pixel}
    template = VISION_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", begin)
    token = _tokens(folder, template, [begin, end, pixel], extra_special_tokens=marks)
    windows = {"sliding_window": 32, "sliding_window_pattern": 2, "query_pre_attn_scalar": 16}
    config = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "image_token_index": token[pixel],
        "mm_tokens_per_image": 16,
        "vocab_size": token["size"],
        "hidden_size": 64,
        "eos_token_id": [token["<|im_end|>"]],
        "text_config": {
            **_TEXT,
            **windows,
            "model_type": "gemma3_text",
            "vocab_size": token["size"],
            "mm_tokens_per_image": 16,
        },
        "vision_config": {**_EYES, "model_type": "siglip_vision_model"},
    }
    pixels = {
        **_PIXELS,
        "image_processor_type": "Gemma3ImageProcessor",
        "size": {"height": 64, "width": 64},
    }
    processor = {"processor_class": "Gemma3Processor", "image_seq_length": 16}
    return _build(folder, config, preprocessor_config=pixels, processor_config=processor)


GEMMA4_TEMPLATE = VISION_TEMPLATE.replace(
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<|image|>{% elif p.type == 'audio' %}<|audio|>",
)


def gemma4(folder: Path) -> Path:
    """A model that sees and hears, with sliding windows and embeddings for each layer."""
    marks = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
        "video_token": "<|video|>",
    }
    token = _tokens(folder, GEMMA4_TEMPLATE, [*marks.values()], extra_special_tokens=marks)
    rope = {"rope_theta": 10000.0, "rope_type": "default"}
    config = {
        "model_type": "gemma4",
        "architectures": ["Gemma4ForConditionalGeneration"],
        "image_token_id": token["<|image|>"],
        "audio_token_id": token["<|audio|>"],
        "video_token_id": token["<|video|>"],
        "boi_token_id": token["<|image>"],
        "eoi_token_id": token["<image|>"],
        "boa_token_id": token["<|audio>"],
        "eoa_token_id": token["<audio|>"],
        "vocab_size": token["size"],
        "eos_token_id": [token["<|im_end|>"]],
        "text_config": {
            **_TEXT,
            "model_type": "gemma4_text",
            "vocab_size": token["size"],
            "vocab_size_per_layer_input": token["size"],
            "hidden_size_per_layer_input": 8,
            "global_head_dim": 16,
            "num_kv_shared_layers": 0,
            "sliding_window": 32,
            "sliding_window_pattern": 2,
            "rope_parameters": {"full_attention": rope, "sliding_attention": rope},
        },
        "vision_config": {
            "model_type": "gemma4_vision",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "global_head_dim": 16,
            "default_output_length": 16,
            "patch_size": 8,
            "position_embedding_size": 64,
            "pooling_kernel_size": 2,
        },
        "audio_config": {
            "model_type": "gemma4_audio",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "subsampling_conv_channels": [8, 4],
            "output_proj_dims": 48,
        },
    }
    pixels = {"patch_size": 8, "max_soft_tokens": 16, "pooling_kernel_size": 2}
    processor = {"processor_class": "Gemma4Processor", "image_processor": pixels}
    _build(folder, config, processor_config=processor)
    return _with_weights(folder, ".embed_tokens.", 0.1)


def smolvlm(folder: Path) -> Path:
    """Images that are split into tiles, and a template that accepts only parts."""
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    special = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *tiles]
    token = _tokens(folder, SMOLVLM_TEMPLATE, special)
    config = {
        "model_type": "smolvlm",
        "architectures": ["SmolVLMForConditionalGeneration"],
        "vocab_size": token["size"],
        "scale_factor": 2,
        "image_token_id": token["<image>"],
        "eos_token_id": token["<|im_end|>"],
        "text_config": {**_TEXT, "model_type": "llama", "vocab_size": token["size"]},
        "vision_config": {**_EYES, "model_type": "smolvlm_vision"},
    }
    pixels = {
        **_PIXELS,
        "do_image_splitting": True,
        "do_pad": True,
        "size": {"longest_edge": 128},
        "max_image_size": {"longest_edge": 64},
        "image_processor_type": "SmolVLMImageProcessor",
        "video_sampling": {"fps": 1, "max_frames": 4, "video_size": {"longest_edge": 64}},
    }
    processor = {"image_seq_len": 16, "processor_class": "SmolVLMProcessor"}
    return _build(folder, config, preprocessor_config=pixels, processor_config=processor)


def qwen3_5(folder: Path) -> Path:
    """Recurrent layers and attention, with positions in three dimensions."""
    token = _tokens(folder, VISION_TEMPLATE, [])
    start, end, pixel, video = (token[mark] for mark in VISION)
    rope = {"type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000}
    config = {
        "model_type": "qwen3_5",
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "vocab_size": token["size"],
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "image_token_id": pixel,
        "video_token_id": video,
        "eos_token_id": token["<|im_end|>"],
        "tie_word_embeddings": True,
        "text_config": {
            **_TEXT,
            "model_type": "qwen3_5_text",
            "vocab_size": token["size"],
            "head_dim": 32,
            "full_attention_interval": 2,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 32,
            "linear_conv_kernel_dim": 4,
            "tie_word_embeddings": True,
            "rope_parameters": {**rope, "partial_rotary_factor": 0.25},
        },
        "vision_config": {
            "model_type": "qwen3_5",
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_heads": 2,
            "in_channels": 3,
            "patch_size": 8,
            "spatial_patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [],
            "hidden_act": "gelu_pytorch_tanh",
        },
    }
    pixels = {
        **_PIXELS,
        "patch_size": 8,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 32 * 32, "longest_edge": 256 * 256},
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    }
    video_pixels = {**pixels, "video_processor_type": "Qwen3VLVideoProcessor"}
    return _build(
        folder, config, preprocessor_config=pixels, video_preprocessor_config=video_pixels
    )
