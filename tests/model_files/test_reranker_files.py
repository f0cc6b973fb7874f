import json
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.model_files.embedding_files import is_embedding_model
from mlx_notebook.model_files.reranker_files import LogitScore, read_logit_score, reranker_kind

ONE = {"0": "LABEL_0"}
MODULE = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"


@pytest.mark.parametrize(
    ("name", "model_type", "head", "more", "kind"),
    [
        ("x", "bert", "BertForSequenceClassification", {"id2label": ONE}, "cross-encoder"),
        ("x", "xlm-roberta", "XLMRobertaForSequenceClassification", {"num_labels": 1}, 1),
        ("x", "bert", "BertForSequenceClassification", {"id2label": {"0": "A", "1": "B"}}, None),
        ("x", "bert", "BertForSequenceClassification", {}, None),
        ("x", "bert", "BertModel", {"id2label": ONE}, None),
        ("x", "deberta-v2", "DebertaV2ForSequenceClassification", {"id2label": ONE}, None),
        ("a/Qwen3-Reranker-0.6B-4bit", "qwen3", "Qwen3ForCausalLM", {}, "yes-no"),
        ("a/Qwen3-0.6B-4bit", "qwen3", "Qwen3ForCausalLM", {}, None),
        ("a/qwen3-reranker", "llama", "LlamaForCausalLM", {}, None),
        ("a/jina-reranker-v3", "qwen3", "JinaForRanking", {}, None),
        ("a/Qwen3-Reranker-seq", "qwen3", "Qwen3ForSequenceClassification", {}, None),
    ],
)
def test_files_and_name_tell_what_ranks(
    tmp_path: Path, name: str, model_type: str, head: str, more: dict[str, Any], kind: Any
) -> None:
    config = {"model_type": model_type, "architectures": [head], **more}
    assert reranker_kind(name, tmp_path, config) == ("cross-encoder" if kind == 1 else kind)
    if kind is not None:
        assert not is_embedding_model(name, tmp_path, config)


def test_a_module_names_the_answers(tmp_path: Path) -> None:
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    assert read_logit_score(tmp_path) is None
    (tmp_path / "modules.json").write_text(json.dumps([{"type": MODULE, "path": "1_LogitScore"}]))
    assert reranker_kind("x", tmp_path, config) == "yes-no"
    (tmp_path / "1_LogitScore").mkdir()
    file = tmp_path / "1_LogitScore" / "config.json"
    file.write_text('{"true_token_id": 5, "false_token_id": null, "module_input_name": "x"}')
    assert read_logit_score(tmp_path) == LogitScore(5)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": MODULE, "path": "../x"}]))
    with pytest.raises(ValueError, match="leads out of its folder"):
        read_logit_score(tmp_path)
