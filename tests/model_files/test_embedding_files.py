"""Embedding models are told from generating ones by their files."""

import json
from pathlib import Path

import pytest

from mlx_notebook.model_files.embedding_files import is_embedding_model, max_input_tokens


@pytest.mark.parametrize(
    ("model_type", "heads", "name", "embeds"),
    [
        ("bert", ["BertModel"], "m", True),
        ("xlm-roberta", [], "m", True),
        ("bert", ["BertForSequenceClassification"], "m", False),
        ("qwen3", ["Qwen3ForCausalLM"], "Qwen3-4B", False),
        ("qwen3", ["Qwen3ForCausalLM"], "Qwen3-Embedding-0.6B", True),
        ("qwen3", ["Qwen3Model"], "m", True),
        ("llama", ["LlamaModel"], "llama-embedding", False),
    ],
)
def test_type_heads_and_name_decide(
    tmp_path: Path, model_type: str, heads: list[str], name: str, embeds: bool
) -> None:
    config = {"model_type": model_type, "architectures": heads}
    assert is_embedding_model(name, tmp_path, config) is embeds


def test_a_folder_of_sentence_transformers_is_an_embedding_model(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    assert is_embedding_model("m", tmp_path, config)


def test_the_smallest_limit_of_an_input_holds(tmp_path: Path) -> None:
    config = {"model_type": "bert", "max_position_embeddings": 512}
    assert max_input_tokens(tmp_path, config) == 512
    settings = {"model_max_length": 10**30}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert max_input_tokens(tmp_path, config) == 512
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128}))
    assert max_input_tokens(tmp_path, config) == 128


def test_positions_of_xlm_roberta_start_after_padding(tmp_path: Path) -> None:
    config = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert max_input_tokens(tmp_path, config) == 512
