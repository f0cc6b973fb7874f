"""Which library runs a model, told by its files: the rule that server and engine share.

A vision model whose weights hold no eyes, as text-only conversions do, is a text model.
"""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_EYES = ("vision", "visual", "vpm.")
_SEEING = ("ForConditionalGeneration", "ForCausalLM", "ChatModel")
_WRITING = ("ForCausalLM", "LMHeadModel", "CausalLM")
# Model types that the libraries keep under another name (their `MODEL_REMAPPING`), hyphens aside.
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


def sees(config: dict[str, Any], weights: Iterable[str] | None) -> bool:
    """Whether a model writes text about pictures, and mlx-vlm runs it.

    Parameters
    ----------
    config
        Its config.json.
    weights
        The names of its tensors; read only where the configuration leaves it open. None where
        they are still to come.
    """
    if not isinstance(config.get("vision_config"), dict):
        return False
    if not _known_to("mlx_vlm", config) or not _is_a(config, _SEEING):
        return False
    return weights is None or any(eye in name for name in weights for eye in _EYES)


def writes(config: dict[str, Any]) -> bool:
    """Whether a config.json describes a language model of mlx-lm's, eyes or no eyes.

    So it is no encoder, no model of sounds, and none that mlx-vlm alone has code for. Conversions
    by mlx-lm leave the eyes out of the configuration too, and name the whole class nevertheless.
    """
    if not isinstance(config.get("model_type"), str):
        return False
    whole = _known_to("mlx_lm", config) and _is_a(config, _SEEING)
    if "vision_config" in config:
        return whole and isinstance(config["vision_config"], dict)
    return "audio_config" not in config and (whole or _is_a(config, _WRITING))


def _known_to(library: str, config: dict[str, Any]) -> bool:
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return False
    kind = kind.lower().replace("-", "_")
    return _OTHER_NAMES[library].get(kind, kind) in _architectures(library)


def _is_a(config: dict[str, Any], endings: tuple[str, ...]) -> bool:
    """Whether one of a model's classes, where it names any, ends so."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        return True
    return any(isinstance(name, str) and name.endswith(endings) for name in names)


@cache
def _architectures(library: str) -> frozenset[str]:
    """The model types that a library has code for, without importing it (up to two seconds)."""
    spec = find_spec(library)
    folders = [Path(place) / "models" for place in (spec and spec.submodule_search_locations) or ()]
    return frozenset(
        child.stem.replace("-", "_")
        for folder in folders
        for child in folder.iterdir()
        if child.is_dir() or child.suffix == ".py"
    )
