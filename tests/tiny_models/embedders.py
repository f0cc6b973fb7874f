"""Tiny random embedding models in the layout of sentence-transformers."""

import json
from pathlib import Path
from typing import Any

from tests.tiny_models.models import byte_tokenizer

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
KINDS = ("bert", "xlm-roberta", "modernbert", "qwen3", "gemma3_text", "lfm2", "ministral3")

_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_WRITER = {
    **_ENCODER,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "bert": {**_ENCODER, "architectures": ["BertModel"], "max_position_embeddings": 64},
    "xlm-roberta": {
        **_ENCODER,
        "architectures": ["XLMRobertaModel"],
        "max_position_embeddings": 50,
        "pad_token_id": 1,
    },
    "modernbert": {
        **_ENCODER,
        "architectures": ["ModernBertModel"],
        "max_position_embeddings": 64,
        "local_attention": 8,
    },
    "qwen3": {
        **_WRITER,
        "architectures": ["Qwen3ForCausalLM"],
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    },
    "gemma3_text": {
        **_WRITER,
        "architectures": ["Gemma3TextModel"],
        "max_position_embeddings": 64,
        "sliding_window": 512,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 8,
    },
    "lfm2": {
        **_WRITER,
        "architectures": ["Lfm2Model"],
        "max_position_embeddings": 64,
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 32,
        "block_ff_dim": 64,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1],
    },
    "ministral3": {
        **_WRITER,
        "architectures": ["Ministral3Model"],
        "max_position_embeddings": 64,
        "rope_parameters": {
            "rope_theta": 10000.0,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 64,
        },
    },
}


def embedder(
    folder: Path, kind: str, *, pooling: str | None = None, limit: int | None = None, seed: int = 0
) -> Path:
    """Write a random embedding model of one of the `KINDS`.

    `pooling` and `limit` are the values in its own files; `None` leaves them out.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.embedding_loader import EMBEDDING_MODEL_REMAPPING
    from mlx_vlm.utils import get_model_and_args

    folder.mkdir(parents=True, exist_ok=True)
    size = words(folder) if kind == "bert" else byte_tokenizer(folder, template=None)
    config = {"model_type": kind, "vocab_size": size, **_SETTINGS[kind]}
    (folder / "config.json").write_text(json.dumps(config))
    used = {**config, "model_type": EMBEDDING_MODEL_REMAPPING.get(kind, kind)}
    module, _ = get_model_and_args(used)
    mx.random.seed(seed)
    model = module.Model(module.ModelConfig.from_dict(used))
    weights = dict(tree_flatten(model.parameters()))
    modules = ["Transformer", "Pooling", "Normalize"]
    if kind == "gemma3_text":
        modules[2:2] = ["Dense", "Dense"]
        for number in (0, 1):
            behind = folder / f"{number + 2}_Dense"
            behind.mkdir()
            layer = {"linear.weight": weights.pop(f"dense.{number}.weight")}
            mx.save_safetensors(str(behind / "model.safetensors"), layer, {"format": "pt"})
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    if pooling is not None:
        paths = ["", *(f"{number}_{name}" for number, name in enumerate(modules) if number)]
        listed = [
            {"idx": number, "path": path, "type": f"sentence_transformers.models.{name}"}
            for number, (name, path) in enumerate(zip(modules, paths, strict=True))
        ]
        (folder / "modules.json").write_text(json.dumps(listed))
        (folder / "1_Pooling").mkdir()
        how = {f"pooling_mode_{pooling}": True, "word_embedding_dimension": 32}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(how))
    if limit is not None:
        settings = {"max_seq_length": limit, "do_lower_case": False}
        (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    return folder


def words(folder: Path) -> int:
    """Write a BERT tokenizer over single letters. Return its size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    names = [*MARKS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]",
        "[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(MARKS)
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    settings = {"tokenizer_class": "BertTokenizer", **marks, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(names)
