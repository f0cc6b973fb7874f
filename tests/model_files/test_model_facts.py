"""The facts about a model are read from its folder; what is wrong with it is named."""

import json
import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from mlx_notebook.model_files import model_facts

LOG = logging.getLogger(__name__)


def folder(path: Path, **config: Any) -> Path:
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **config}
    (path / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros(8, np.float16)}, path / "model.safetensors")
    return path


def test_the_demonstration_model_can_chat_and_call_tools() -> None:
    path = Path(str(files("mlx_notebook.demo_models"))) / "tiny-chat"
    facts = model_facts.read(path, "tiny-chat", LOG)
    assert facts is not None
    assert {"chat", "tools"} <= set(facts.capabilities)
    assert facts.context_window
    assert facts.error is None


def test_a_folder_without_a_configuration_is_no_model(tmp_path: Path) -> None:
    assert model_facts.read(tmp_path, "m", LOG) is None


def test_a_chat_template_tells_what_the_model_can_do(tmp_path: Path) -> None:
    template = "{% if tools %}{{ tools }}{% endif %}{{ enable_thinking }}"
    (folder(tmp_path) / "chat_template.jinja").write_text(template)
    facts = model_facts.read(tmp_path, "m", LOG)
    assert facts is not None
    assert facts.capabilities == ("chat", "tools", "reasoning")


def test_quantisation_code_and_sampling_defaults_are_read(tmp_path: Path) -> None:
    path = folder(tmp_path, quantization={"bits": 4}, auto_map={"AutoModel": "x.Y"})
    (path / "generation_config.json").write_text('{"temperature": 0.3}')
    facts = model_facts.read(path, "m", LOG)
    assert facts is not None
    assert (facts.quantization, facts.has_code) == ("4-bit", True)
    assert facts.sampling_defaults == {"temperature": 0.3}


def test_files_that_an_index_names_and_that_are_not_there_are_missing(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder(tmp_path) / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = model_facts.read(tmp_path, "m", LOG, expected=frozenset({"tokenizer.json"}))
    assert facts is not None
    assert facts.missing == ("model-2.safetensors", "tokenizer.json")


def test_a_broken_file_becomes_the_error(tmp_path: Path) -> None:
    (folder(tmp_path) / "model.safetensors").write_bytes(b"short")
    facts = model_facts.read(tmp_path, "m", LOG)
    assert facts is not None
    assert "model.safetensors is cut off" in str(facts.error)


def test_the_stamp_changes_with_a_file(tmp_path: Path) -> None:
    before = model_facts.stamp(folder(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert model_facts.stamp(tmp_path) != before
