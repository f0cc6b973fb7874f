"""Which library runs a model is decided by its config.json and the names of its weights."""

from typing import Any

import pytest

from mlx_notebook.model_files.architectures import is_text_model, is_vision_model

VISION: dict[str, Any] = {
    "model_type": "qwen3_vl",
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "vision_config": {},
}


def test_a_model_with_a_vision_part_is_a_vision_model() -> None:
    assert is_vision_model(VISION, ["vision_tower.blocks.0.weight", "model.embed.weight"])


def test_a_conversion_without_vision_weights_is_none() -> None:
    assert not is_vision_model(VISION, ["model.embed.weight"])


def test_the_configuration_decides_while_the_weights_are_not_downloaded() -> None:
    assert is_vision_model(VISION, None)
    assert not is_vision_model({"model_type": "qwen3"}, None)


@pytest.mark.parametrize(
    ("config", "runs"),
    [
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, True),
        ({"model_type": "qwen3"}, True),
        ({"model_type": "bert", "architectures": ["BertModel"]}, False),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "audio_config": {}}, False),
        ({"model_type": "whisper", "architectures": ["WhisperModel"], "audio_config": {}}, False),
        ({"model_type": 3}, False),
        ({}, False),
    ],
)
def test_a_text_model_is_one_that_mlx_lm_implements(config: dict[str, Any], runs: bool) -> None:
    assert is_text_model(config) is runs
