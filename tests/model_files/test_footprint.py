"""The memory of a model is predicted from its configuration and the sizes of its arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlx_notebook.model_files.footprint import (
    KVCacheSize,
    WeightBytes,
    context_window,
    kv_cache_size,
    predict_footprint,
    read_sizes,
)
from mlx_notebook.model_files.safetensors_headers import ArrayInfo
from mlx_notebook.protocol import ModelOptions

CONFIG: dict[str, Any] = {
    "model_type": "qwen3",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 100,
}


def test_weights_are_widened_where_the_engine_computes_in_32_bits() -> None:
    arrays = [ArrayInfo("a", "BF16", 100), ArrayInfo("b", "U32", 40), ArrayInfo("c", "F8_E4M3", 10)]
    weights = WeightBytes.of(arrays)
    assert weights == WeightBytes(150, 100, 10)
    assert weights.in_memory(full_precision=False) == 160
    assert weights.in_memory(full_precision=True) == 280


def test_the_kv_cache_holds_keys_and_values_of_each_layer() -> None:
    size = kv_cache_size(CONFIG)
    assert size == KVCacheSize(2 * 2 * 2 * 8, 100)
    assert size.in_memory(ModelOptions(), full_precision=False) == 64 * 100 * 2
    assert size.in_memory(ModelOptions(context_limit=10), full_precision=True) == 64 * 10 * 4


def test_a_quantised_kv_cache_is_smaller() -> None:
    size = KVCacheSize(64, 100)
    plain = size.in_memory(ModelOptions(), full_precision=False)
    assert size.in_memory(ModelOptions(kv_bits=4), full_precision=False) < plain / 3


def test_latent_attention_keeps_one_vector_per_token() -> None:
    config = {**CONFIG, "kv_lora_rank": 16, "qk_rope_head_dim": 4}
    assert kv_cache_size(config).numbers == 2 * 20


def test_the_text_part_of_a_configuration_counts() -> None:
    assert kv_cache_size({"text_config": CONFIG}) == kv_cache_size(CONFIG)
    assert context_window({"text_config": {"n_positions": 7}}) == 7
    assert context_window({}) is None


def test_implausible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="implausibly large"):
        kv_cache_size({**CONFIG, "head_dim": 10**9, "num_hidden_layers": 10**9})
    with pytest.raises(ValueError, match="max_position_embeddings in config"):
        context_window({"max_position_embeddings": 2**50})


def test_adapter_and_draft_model_are_added() -> None:
    weights, cache = WeightBytes(1000), KVCacheSize(10, 50)
    found = predict_footprint(
        weights,
        cache,
        ModelOptions(kv_bits=8),
        adapter=WeightBytes(30),
        draft=(WeightBytes(200), KVCacheSize(1, 50)),
        full_precision=False,
    )
    assert (found.base, found.own, found.weights) == (1000, 230, 1230)
    assert found.kv == cache.in_memory(ModelOptions(kv_bits=8), full_precision=False) + 100
    assert found.total == found.weights + found.kv


def test_the_sizes_of_a_folder_are_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(FileNotFoundError, match="safetensors file"):
        read_sizes("m", tmp_path)
    save_file({"a": np.zeros(8, np.float16)}, tmp_path / "model.safetensors")
    assert read_sizes("m", tmp_path) == (WeightBytes(16, 16, 0), kv_cache_size(CONFIG))
