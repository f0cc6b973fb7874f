"""What the catalog says of a GGUF file."""

import logging
import struct
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.model_files.gguf.gguf_facts import read_facts
from tests.tiny_models.gguf_models import LLAMA, QWEN3, gguf_and_folder

LOG = logging.getLogger("test")


def test_facts_come_from_the_metadata(tmp_path: Path) -> None:
    file, _ = gguf_and_folder(tmp_path, QWEN3, "Q4_1")
    facts = read_facts(file, LOG)
    assert facts.error is None
    assert (facts.architecture, facts.quantization) == ("qwen3", "4-bit Q4_1")
    assert facts.context_window == 2048
    assert facts.capabilities == ("chat", "reasoning")
    assert facts.bytes_on_disk == file.stat().st_size
    assert facts.weights.total < facts.bytes_on_disk
    # 265 tokens, and two layers: attention with norms of heads, a feed-forward part, two norms.
    layer = 64 * 16 * (4 + 2 + 2 + 4) + 2 * 16 + 3 * 64 * 128 + 2 * 64
    assert facts.parameters == 265 * 64 + 2 * layer + 64


def test_layers_that_it_does_not_have_are_told_before_anything_is_built(tmp_path: Path) -> None:
    file, _ = gguf_and_folder(tmp_path, QWEN3)
    key = b"qwen3.block_count" + struct.pack("<I", 4)
    many = key + struct.pack("<I", 2**31)
    file.write_bytes(file.read_bytes().replace(key + struct.pack("<I", 2), many))
    error = read_facts(file, LOG).error
    assert error == "its metadata tells of 2147483648 layers, and it has 2"


@pytest.mark.parametrize(
    ("config", "kind", "changes", "words"),
    [
        (QWEN3, "Q8_0", {"general__architecture": "mamba"}, "'mamba', and GGUF files are read of"),
        (QWEN3, "Q8_0", {"qwen3__pooling_type": "2"}, "pooling_type"),
        (LLAMA, "Q8_0", {"llama__rope__scaling__type": "longrope"}, "'longrope'"),
        (LLAMA, "Q8_0", {"llama__context_length": "many"}, "context_length"),
        (LLAMA, "Q8_0", {"general__architecture": "qwen2"}, "attention.head_count"),
        (LLAMA, "TQ1_0", {}, "of the type TQ1_0, and only F32, F16, Q4_0, "),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(
    config: dict[str, Any], kind: str, changes: dict[str, str], words: str, tmp_path: Path
) -> None:
    wide = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64} if kind[0] == "T" else {}
    file, _ = gguf_and_folder(tmp_path, {**config, **wide}, kind, **changes)
    facts = read_facts(file, LOG)
    assert facts.error is not None
    assert words in facts.error
    assert not facts.error.endswith(".")
