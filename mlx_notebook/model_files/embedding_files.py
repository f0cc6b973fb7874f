"""What a model's folder says of embedding texts; server and engine read it alike.

Only JSON files are read. Layout of sentence-transformers' folders:
https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from pathlib import Path
from typing import Any

from mlx_notebook.model_files.model_folder import read_json

# The kinds that mlx-vlm can make vectors with (its `embedding_loader`), hyphens aside: those made
# for it, and those that also write.
_ENCODERS = ("bert", "modernbert", "xlm_roberta")
_WRITERS = ("gemma3_text", "lfm2", "ministral3", "qwen3")
_OTHER_HEADS = ("Classification", "QuestionAnswering", "MultipleChoice")
# What tokenizers write that have no limit is larger still.
_NO_LIMIT = 2**31
_LARGEST_FILE = 16 * 2**20
# Files that tell how long a text may be, and under which key.
_LIMITS = (
    ("sentence_bert_config.json", "max_seq_length"),
    ("tokenizer_config.json", "model_max_length"),
)


def embeds(name: str, folder: Path, config: dict[str, Any]) -> bool:
    """Whether a model only embeds, and mlx-vlm can have it do so.

    Parameters
    ----------
    name
        What it is called: conversions of a writing kind often keep no other sign.
    folder, config
        Its files, and what its config.json holds.
    """
    kind = _kind(config)
    named = config.get("architectures")
    heads = [head for head in named if isinstance(head, str)] if isinstance(named, list) else []
    if kind in _ENCODERS:
        return not any(head.endswith(_OTHER_HEADS) for head in heads)
    if kind not in _WRITERS:
        return False
    headless = bool(heads) and all(head.endswith("Model") for head in heads)
    return headless or (folder / "modules.json").is_file() or "embedding" in name.lower()


def longest_input(folder: Path, config: dict[str, Any]) -> int | None:
    """Most tokens of one text, marks included, as far as the files say."""
    limits = [_read(folder / file).get(key) for file, key in _LIMITS]
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id")
    if isinstance(positions, int) and _kind(config) == "xlm_roberta":
        # Its positions begin behind that of padding.
        positions -= 1 + (padding if isinstance(padding, int) else 1)
    told = [limit for limit in (*limits, positions) if isinstance(limit, int)]
    return min((limit for limit in told if 0 < limit < _NO_LIMIT), default=None)


def _kind(config: dict[str, Any]) -> str:
    return str(config.get("model_type")).replace("-", "_")


def _read(file: Path) -> dict[str, Any]:
    try:
        held = read_json(file, _LARGEST_FILE)
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
