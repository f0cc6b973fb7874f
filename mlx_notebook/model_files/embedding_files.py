"""Embedding models, according to their files. Server and engine use the same rule.

Only JSON files are read. Layout of sentence-transformers' folders:
https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from pathlib import Path
from typing import Any

from mlx_notebook.model_files.model_folder import read_json
from mlx_notebook.model_files.reranker_files import reranker_kind

# Model types that mlx-vlm can embed with (its `embedding_loader`), without hyphens: encoders, and
# types that exist as generating models too.
_ENCODERS = ("bert", "modernbert", "xlm_roberta")
_GENERATORS = ("gemma3_text", "lfm2", "ministral3", "qwen3")
# Types that embed images and texts together. Conversions have a type of their own.
_IMAGE_EMBEDDERS = {"qwen3_vl": "qwen3_vl_embedding"}
# Most tokens of an input of these: their mask grows with the square.
_MOST_IMAGE_TOKENS = 8192
_OTHER_HEADS = ("Classification", "QuestionAnswering", "MultipleChoice")
# Tokenizers without a limit write a number that is larger than this.
_NO_LIMIT = 2**31
_LARGEST_FILE = 16 * 2**20
# Files and keys that hold the maximum length of an input.
_LIMITS = (
    ("sentence_bert_config.json", "max_seq_length"),
    ("tokenizer_config.json", "model_max_length"),
)


def is_embedding_model(name: str, folder: Path, config: dict[str, Any]) -> bool:
    """Return whether a model only embeds, and mlx-vlm can embed with it.

    Parameters
    ----------
    name
        The model's name. In conversions of a generating type it is often the only sign.
    folder, config
        Its folder and its config.json.
    """
    model_type = _model_type(config)
    named = config.get("architectures")
    heads = [head for head in named if isinstance(head, str)] if isinstance(named, list) else []
    if embeds_images(name, config):
        return True
    if model_type in _ENCODERS:
        return not any(head.endswith(_OTHER_HEADS) for head in heads)
    if model_type not in _GENERATORS or reranker_kind(name, folder, config) is not None:
        return False
    headless = bool(heads) and all(head.endswith("Model") for head in heads)
    return headless or (folder / "modules.json").is_file() or "embedding" in name.lower()


def embeds_images(name: str, config: dict[str, Any]) -> bool:
    """Return whether a model only embeds, also images, and mlx-vlm can embed with it.

    A folder of the generating type is known by the model's name only.
    """
    model_type = _model_type(config)
    if model_type in _IMAGE_EMBEDDERS.values():
        return True
    return model_type in _IMAGE_EMBEDDERS and "embedding" in name.lower()


def as_embedding_type(config: dict[str, Any]) -> dict[str, str]:
    """Return the model type under which mlx-vlm embeds, by the type of a generating model."""
    return _IMAGE_EMBEDDERS if _model_type(config) in _IMAGE_EMBEDDERS else {}


def max_input_tokens(folder: Path, config: dict[str, Any]) -> int | None:
    """Return the maximum length of an input in tokens, with its special tokens.

    None if the files do not say.
    """
    limits = [_read(folder / file).get(key) for file, key in _LIMITS]
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id")
    if isinstance(positions, int) and _model_type(config) == "xlm_roberta":
        # Its positions start after the position of padding.
        positions -= 1 + (padding if isinstance(padding, int) else 1)
    found = [limit for limit in (*limits, positions) if isinstance(limit, int)]
    if _model_type(config) in (*_IMAGE_EMBEDDERS, *_IMAGE_EMBEDDERS.values()):
        found.append(_MOST_IMAGE_TOKENS)
    return min((limit for limit in found if 0 < limit < _NO_LIMIT), default=None)


def _model_type(config: dict[str, Any]) -> str:
    return str(config.get("model_type")).replace("-", "_")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file, _LARGEST_FILE)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
