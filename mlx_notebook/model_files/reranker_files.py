"""Models that rank documents by a query, according to their files. Server and engine use one rule.

A **cross-encoder** reads query and document together and has one output, the score. A **yes-no
reranker** is a language model that is asked whether the document answers the query; its score
compares the logits of two tokens. Sentence-transformers describes one by a module `LogitScore`:
https://sbert.net/docs/package_reference/cross_encoder/modules.html
"""

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.model_files.model_folder import read_json

RerankerKind = Literal["cross-encoder", "yes-no"]

# Model types whose sequence classification mlx-vlm can run (its `reranker_loader`).
_ENCODERS = ("bert", "modernbert", "xlm_roberta")
# Language models whose head is a matrix on the last hidden state, without scale or cap.
WRITERS = ("llama", "mistral", "qwen2", "qwen3")
# Conversions to MLX leave the module out, so that only the name tells.
_KNOWN_NAME = "qwen3-reranker"
_MODULE = "cross_encoder.modules.logit_score.LogitScore"
# What a model of `transformers` has if its configuration counts no labels.
_DEFAULT_LABELS = 2


class LogitScore(Struct, frozen=True):
    """The tokens that a yes-no reranker compares. Without a false one, one logit is the score."""

    true_token_id: int
    false_token_id: int | None = None


def reranker_kind(name: str, folder: Path, config: dict[str, Any]) -> RerankerKind | None:
    """Return how a model ranks documents; None if it is not made for that.

    Parameters
    ----------
    name
        The model's name.
    folder, config
        Its folder and its config.json.
    """
    if is_cross_encoder(config):
        return "cross-encoder"
    if not is_writer(config):
        return None
    asked = is_qwen_reranker(name, config) or _score_folder(folder) is not None
    return "yes-no" if asked else None


def is_qwen_reranker(name: str, config: dict[str, Any]) -> bool:
    """Return whether a model is a Qwen3-Reranker by its name."""
    return _KNOWN_NAME in name.lower() and config.get("model_type") == "qwen3"


def is_cross_encoder(config: dict[str, Any]) -> bool:
    """Return whether a model is an encoder with one output for a pair of texts."""
    model_type = str(config.get("model_type")).replace("-", "_")
    classifies = any(head.endswith("ForSequenceClassification") for head in _heads(config))
    return classifies and model_type in _ENCODERS and _labels(config) == 1


def is_writer(config: dict[str, Any]) -> bool:
    """Return whether a model is a language model that can be asked for yes or no."""
    heads = _heads(config)
    writes = not heads or any(head.endswith("ForCausalLM") for head in heads)
    return writes and config.get("model_type") in WRITERS


def read_logit_score(folder: Path) -> LogitScore | None:
    """Return the tokens that the model's files name; None if they name none.

    Raises
    ------
    ValueError
        If the file is not valid.
    OSError
        If it cannot be read.
    """
    where = _score_folder(folder)
    if where is None:
        return None
    if not where.resolve().is_relative_to(folder.resolve()):
        raise ValueError("its modules.json leads out of its folder")
    found: LogitScore = read_json(where / "config.json", type=LogitScore)
    return found


class _Module(Struct):
    """One module of a model of sentence-transformers."""

    type: str
    path: str = ""


def _score_folder(folder: Path) -> Path | None:
    try:
        modules: list[_Module] = read_json(folder / "modules.json", type=list[_Module])
    except (OSError, ValueError):
        return None
    paths = [module.path for module in modules if module.type.endswith(_MODULE)]
    return folder / paths[0] if paths else None


def _labels(config: dict[str, Any]) -> int:
    names = config.get("id2label")
    count = config.get("num_labels", len(names) if isinstance(names, dict) else None)
    return count if isinstance(count, int) else _DEFAULT_LABELS


def _heads(config: dict[str, Any]) -> list[str]:
    named = config.get("architectures")
    return [head for head in named if isinstance(head, str)] if isinstance(named, list) else []
