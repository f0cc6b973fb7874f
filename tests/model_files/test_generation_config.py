"""Sampling defaults come from the model's generation_config.json, then from us."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.model_files.generation_config import (
    effective_sampling,
    fill_sampling,
    read_sampling_defaults,
)
from mlx_notebook.protocol import Sampling


def read(folder: Path, content: Any) -> dict[str, float]:
    (folder / "generation_config.json").write_text(json.dumps(content))
    return read_sampling_defaults(folder)


def test_a_folder_without_the_file_has_no_defaults(tmp_path: Path) -> None:
    assert read_sampling_defaults(tmp_path) == {}


def test_known_parameters_are_read_and_others_ignored(tmp_path: Path) -> None:
    content = {"temperature": 0.6, "top_k": -1, "top_p": None, "eos_token_id": 3}
    assert read(tmp_path, content) == {"temperature": 0.6, "top_k": 0}


def test_a_model_that_does_not_sample_is_greedy(tmp_path: Path) -> None:
    assert read(tmp_path, {"do_sample": False, "temperature": 0.6}) == {"temperature": 0.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no settings"),
        ({"temperature": "hot"}, "temperature .* is no number"),
        ({"temperature": True}, "temperature .* is no number"),
        ({"top_p": 1.5}, "top_p .* is 1.5, and must be from 0 to 1"),
        ({"temperature": -1}, "temperature .* is -1, and must be 0 or more"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_a_requests_own_parameters_win_over_the_models_and_ours() -> None:
    found = effective_sampling(Sampling(top_p=0.5), {"temperature": 0.2, "top_p": 0.9})
    assert found["top_p"] == 0.5
    assert found["temperature"] == 0.2
    assert found["min_p"] == 0.0


def test_the_first_default_of_what_a_request_leaves_open_wins() -> None:
    settings, authors = {"temperature": 0.1, "max_tokens": 9}, {"temperature": 0.2, "top_k": 5}
    filled = fill_sampling(Sampling(top_k=3), settings, authors)
    assert filled == Sampling(temperature=0.1, top_k=3, max_tokens=9)
    assert fill_sampling(filled, authors) is filled
