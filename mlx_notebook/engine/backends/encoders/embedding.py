"""The embedding backend: an mlx-vlm model that turns texts into vectors and does not generate.

`selection` imports it when the first embedding model is loaded, since mlx-vlm takes two seconds.
"""

import json
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.embedding_loader import load_embedding_model
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.models.pooling import pool_by_config

from mlx_notebook.engine.backends.backend import LoadStep, Vectors
from mlx_notebook.engine.backends.encoders.encoder import EncoderBackend, load_encoder
from mlx_notebook.engine.backends.model_loader import loading
from mlx_notebook.engine.batching.padding import padded
from mlx_notebook.protocol import ModelOptions

# Modules of sentence-transformers that mlx-vlm applies itself or does not need.
_MODULES = ("Transformer", "Pooling", "Normalize")


class EmbeddingBackend(EncoderBackend):
    """An embedding model in memory."""

    purpose = "embeds texts and writes none: use v1/embeddings"

    def __init__(self, name: str, model: Any, tokenizer: Any, limit: int, padding: int) -> None:
        super().__init__(name, model, tokenizer, limit)
        self._padding = padding

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Return a vector for each tokenized text, pooled as the model's files say.

        Most of these models attend to later tokens. Only one that does not can yield in between.
        """
        model = self._model
        tokens, mask = padded(batch, self._padding)
        positions = tokens.shape[1]
        if positions <= chunk or model.model_type != "qwen3_embedding":
            output = model(mx.array(tokens), attention_mask=mx.array(mask))
            return np.array(output.text_embeds.astype(mx.float32))
        cache = make_prompt_cache(model)
        pieces = []
        for begin in range(0, positions, chunk):
            if begin:
                yield
            pieces.append(model.model(mx.array(tokens[:, begin : begin + chunk]), cache))
            mx.eval(pieces)
        how = model.pooling_config or {"pooling_mode": "lasttoken"}
        pooled = pool_by_config(mx.concatenate(pieces, axis=1), mx.array(mask), how)
        return np.array(pooled.astype(mx.float32))


def load(
    name: str, path: Path, options: ModelOptions, workers: Executor
) -> Generator[LoadStep, None, EmbeddingBackend]:
    """Load an embedding model in slices (see `selection.load`).

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """

    def build(config: dict[str, Any]) -> Any:
        pooling = _pooling(path, config)
        model = load_embedding_model(path, lazy=True)
        model.pooling_config = pooling
        return model

    with loading(name):
        model, tokenizer, config, limit = yield from load_encoder(path, options, workers, build)
        backend = EmbeddingBackend(name, model, tokenizer, limit, config.get("pad_token_id") or 0)
        # This compiles what the first request needs, and finds models of the wrong kind.
        vectors = yield from backend.embed([[0, 1], [0]], limit)
        if vectors.ndim != 2:
            raise ValueError("it makes a vector of each token, not one of a text.")
    return backend


def _pooling(path: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Read how the model's files pool token vectors into one; None if they do not say.

    Raises
    ------
    ValueError
        If the files ask for a step that is not supported.
    """
    folder = path / "1_Pooling"
    file = path / "modules.json"
    modules = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for module in modules:
        family, _, kind = str(module["type"]).rpartition(".")
        known = kind in _MODULES or (kind == "Dense" and config["model_type"] == "gemma3_text")
        if not family.startswith("sentence_transformers.") or not known:
            raise ValueError(f"its modules.json asks for {module['type']}, which is not supported.")
        if kind == "Pooling":
            folder = path / module["path"]
    if not folder.resolve().is_relative_to(path.resolve()):
        raise ValueError("its modules.json leads out of its folder.")
    file = folder / "config.json"
    settings: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
    return settings
