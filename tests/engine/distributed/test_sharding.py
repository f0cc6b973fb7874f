"""How a model is divided: by its class, its settings and the number of ranks."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.models import qwen2, qwen3
from mlx_lm.utils import load_model

from mlx_notebook.engine.distributed.sharding import choose_division, describe_files
from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.protocol import ModelOptions
from tests.hub import TINY_CHAT


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, dict[str, Any]]:
    loaded: tuple[Any, dict[str, Any]] = load_model(TINY_CHAT, lazy=True)
    return loaded


@pytest.fixture(scope="module")
def layered(tiny: tuple[Any, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    """A model whose class can be divided in both ways."""
    config = {**tiny[1], "model_type": "qwen2"}
    return qwen2.Model(qwen2.ModelArgs.from_dict(config)), config


def test_tensors_are_divided_where_their_heads_can_be(
    tiny: tuple[Any, dict[str, Any]], layered: tuple[Any, dict[str, Any]]
) -> None:
    assert isinstance(tiny[0], qwen3.Model)
    for model, config in (tiny, layered):
        assert choose_division("m", model, config, ModelOptions(), 2) == "tensor"
    assert choose_division("m", *layered, ModelOptions(), 3) == "pipeline"
    assert choose_division("m", *layered, ModelOptions(division="pipeline"), 2) == "pipeline"


@pytest.mark.parametrize(
    ("ranks", "options", "reason"),
    [
        (4, {}, "its 2 key and value heads cannot be divided among 4 ranks, and mlx-lm cannot"),
        (3, {"division": "tensor"}, "its 4 attention heads cannot be divided among 3 ranks"),
        (2, {"division": "pipeline"}, "mlx-lm cannot divide its layers"),
        (2, {"adapter": "folder"}, "a model with adapter runs on one rank only"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    tiny: tuple[Any, dict[str, Any]], ranks: int, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(LoadFailed, match=reason):
        choose_division("m", *tiny, ModelOptions(**options), ranks)


def test_a_pipeline_has_no_more_ranks_than_layers(layered: tuple[Any, dict[str, Any]]) -> None:
    with pytest.raises(LoadFailed, match="it has 6 layers for 8 ranks"):
        choose_division("m", *layered, ModelOptions(), 8)


def test_copies_of_a_folder_are_told_from_others(tmp_path: Path) -> None:
    for name, weights in (("a", b"1234"), ("b", b"1234"), ("c", b"12345")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    same, copy, other = (describe_files(tmp_path / name) for name in "abc")
    assert same == copy != other
