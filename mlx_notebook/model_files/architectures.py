"""Which library can run a model, according to its files. Server and engine use the same rule.

A vision model whose weights have no vision part, as text-only conversions, counts as a text model.
"""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_VISION_WEIGHTS = ("vision", "visual", "vpm.")
_VISION_CLASSES = ("ForConditionalGeneration", "ForCausalLM", "ChatModel")
_TEXT_CLASSES = ("ForCausalLM", "LMHeadModel", "CausalLM")
# Their processors read a video as frames with a grid in time, as a vision backend needs it.
_VIDEO_TYPES = frozenset(
    {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"}
)
# mlx-vlm encodes their sound by itself, as it encodes an image, and this is tested.
_HEARING_TYPES = frozenset({"gemma4"})
_AUDIO_WEIGHTS = ("audio_tower", "embed_audio")
# Model types that the libraries keep under another name (their `MODEL_REMAPPING`), without hyphens.
_OTHER_NAMES = {
    "mlx_vlm": {
        "bunny_llama": "llava_bunny",
        "cohere2_vision": "aya_vision",
        "jvlm": "jina_vlm",
        "llava_qwen2": "fastvlm",
        "moondream1": "moondream2",
    },
    "mlx_lm": {"gemma4_unified": "gemma4", "llava": "mistral3", "qwen2_5_vl": "qwen2_vl"},
}


def is_vision_model(config: dict[str, Any], weights: Iterable[str] | None) -> bool:
    """Return whether a model generates text from images, and mlx-vlm can run it.

    Parameters
    ----------
    config
        The model's config.json.
    weights
        Names of its tensors. Read only if the configuration does not decide. None if they are not
        downloaded yet.
    """
    if not isinstance(config.get("vision_config"), dict):
        return False
    if not _is_known_to("mlx_vlm", config) or not _has_class(config, _VISION_CLASSES):
        return False
    return weights is None or any(part in name for name in weights for part in _VISION_WEIGHTS)


def takes_video(config: dict[str, Any]) -> bool:
    """Return whether a vision model takes a video as one, and not as still images."""
    has_token = isinstance(config.get("video_token_id"), int)
    return has_token and config.get("model_type") in _VIDEO_TYPES


def hears(config: dict[str, Any], weights: Iterable[str] | None) -> bool:
    """Return whether a vision model also takes sound. `weights` as in `is_vision_model`."""
    if config.get("model_type") not in _HEARING_TYPES:
        return False
    if not isinstance(config.get("audio_config"), dict):
        return False
    return weights is None or any(part in name for name in weights for part in _AUDIO_WEIGHTS)


def is_text_model(config: dict[str, Any]) -> bool:
    """Return whether mlx-lm can run the language model that config.json describes.

    False for encoders, audio models, and models that only mlx-vlm implements. A vision model counts
    if mlx-lm has its language part. Conversions by mlx-lm drop the vision part from the
    configuration, but keep the name of the whole class.
    """
    if not isinstance(config.get("model_type"), str):
        return False
    whole = _is_known_to("mlx_lm", config) and _has_class(config, _VISION_CLASSES)
    if "vision_config" in config:
        return whole and isinstance(config["vision_config"], dict)
    return "audio_config" not in config and (whole or _has_class(config, _TEXT_CLASSES))


def _is_known_to(library: str, config: dict[str, Any]) -> bool:
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return False
    model_type = model_type.lower().replace("-", "_")
    return _OTHER_NAMES[library].get(model_type, model_type) in _model_types(library)


def _has_class(config: dict[str, Any], endings: tuple[str, ...]) -> bool:
    """Return whether a class of the model ends so. True if config.json names no class."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        return True
    return any(isinstance(name, str) and name.endswith(endings) for name in names)


@cache
def _model_types(library: str) -> frozenset[str]:
    """Return the model types that a library implements. The library is not imported (slow)."""
    spec = find_spec(library)
    folders = [Path(place) / "models" for place in (spec and spec.submodule_search_locations) or ()]
    return frozenset(
        child.stem.replace("-", "_")
        for folder in folders
        for child in folder.iterdir()
        if child.is_dir() or child.suffix == ".py"
    )
