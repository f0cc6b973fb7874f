"""Tiny random rerankers, in the layouts of their authors."""

import json
from pathlib import Path
from typing import Any

from tests.tiny_models.embedders import words
from tests.tiny_models.models import qwen3

CROSS_ENCODERS = ("bert", "xlm-roberta", "modernbert")
PAIR_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}<|im_start|>{{ m.content }}<|im_end|>"
    "{% elif m.role == 'query' %}Query: {{ m.content }}\n"
    "{% elif m.role == 'document' %}Text: {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>answer{% endif %}"
)

_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "bert": {
        **_ENCODER,
        "architectures": ["BertForSequenceClassification"],
        "max_position_embeddings": 96,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
    "xlm-roberta": {
        **_ENCODER,
        "architectures": ["XLMRobertaForSequenceClassification"],
        "max_position_embeddings": 98,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
    },
    "modernbert": {
        **_ENCODER,
        "architectures": ["ModernBertForSequenceClassification"],
        "max_position_embeddings": 96,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "classifier_pooling": "mean",
        "pad_token_id": 0,
    },
}
_SHARES = {"bert": "bert.", "xlm-roberta": "roberta.", "modernbert": "model."}


def cross_encoder(folder: Path, kind: str, **changes: Any) -> Path:
    """Write a random cross-encoder of one of the `CROSS_ENCODERS`."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.utils import get_model_and_args

    folder.mkdir(parents=True)
    config = {"model_type": kind, "vocab_size": words(folder), **_SETTINGS[kind], **changes}
    (folder / "config.json").write_text(json.dumps(config))
    if kind != "bert":
        _change(folder / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    used = {**config, "model_type": kind.replace("-", "_"), "num_labels": 1}
    module, _ = get_model_and_args(used)
    mx.random.seed(7)
    model = module.SequenceClassificationModel(module.ModelConfig.from_dict(used))
    # Larger and uneven, so that scores differ; the names are those of the authors' own files.
    weights = {
        name if name.startswith(("classifier.", "head.")) else _SHARES[kind] + name: (
            value * 4 if value.ndim > 1 else value + mx.random.normal(value.shape) / 10
        )
        for name, value in tree_flatten(model.parameters())
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    return folder


def yes_no_reranker(folder: Path, *, template: str | None = None, **changes: Any) -> Path:
    """Write a random Qwen3 that knows `yes` and `no`.

    With a `template` it has the module of sentence-transformers that compares the two.
    """
    chat = {} if template is None else {"template": template}
    changes = {"architectures": ["Qwen3ForCausalLM"], **changes}
    qwen3(folder, seed=3, special=["yes", "no"], **chat, **changes)
    if template is None:
        return folder
    known = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    ids = {token["content"]: token["id"] for token in known}
    kinds = {
        "": "sentence_transformers.base.modules.transformer.Transformer",
        "1_LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
    }
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_LogitScore").mkdir()
    answers = {"true_token_id": ids["yes"], "false_token_id": ids["no"]}
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(answers))
    # Sentence-transformers pads.
    _change(folder / "tokenizer_config.json", pad_token="<|endoftext|>")
    return folder


def reference_models(folder: Path) -> dict[str, Path]:
    """Write all models whose scores are recorded; return their folders by name."""
    made = {kind: cross_encoder(folder / kind, kind) for kind in CROSS_ENCODERS}
    made["qwen3-reranker"] = yes_no_reranker(folder / "qwen3-reranker")
    made["logit-score"] = yes_no_reranker(folder / "logit-score", template=PAIR_TEMPLATE)
    return made


def _change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
