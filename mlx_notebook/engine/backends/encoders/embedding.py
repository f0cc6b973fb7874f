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
from mlx.utils import tree_flatten
from mlx_lm.utils import load_config
from mlx_vlm.embedding_loader import load_embedding_model
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.models.pooling import pool_by_config

from mlx_notebook.engine.backends.adapters import BaseWeights
from mlx_notebook.engine.backends.backend import Backend, LoadStep, Vectors, only_embeds
from mlx_notebook.engine.backends.encoders.encoder_activation import use_exact_gelu
from mlx_notebook.engine.backends.model_loader import (
    adapt_to_device,
    loading,
    open_tokenizer,
    read_parts,
    require_tokenizer,
)
from mlx_notebook.engine.batching.padding import padded
from mlx_notebook.engine.prompts.length_limits import LengthLimit, longest_token
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, tokenize_text
from mlx_notebook.model_files.embedding_files import max_input_tokens
from mlx_notebook.protocol import ModelOptions, Prompt, TextPrompt

_DEFAULT_LIMIT = 512
# Modules of sentence-transformers that mlx-vlm applies itself or does not need.
_MODULES = ("Transformer", "Pooling", "Normalize")


class EmbeddingBackend(Backend):
    """An embedding model in memory."""

    def __init__(self, name: str, model: Any, tokenizer: Any, limit: int, padding: int):
        self.name, self.tokenizer = name, tokenizer
        self.context_length = limit
        self.length_limit = LengthLimit(limit, longest=longest_token(tokenizer))
        self.nbytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
        self.base = BaseWeights(self.nbytes)
        self._model, self._padding = model, padding

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Tokenize a text; refuse a chat."""
        if not isinstance(prompt, TextPrompt):
            raise only_embeds(self.name)
        return tokenize_text(self.tokenizer, prompt, length_limit or self.length_limit)

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

    def close(self) -> None:
        """Release the model, even if someone still holds this object."""
        del self._model


def load(
    name: str, path: Path, options: ModelOptions, workers: Executor
) -> Generator[LoadStep, None, EmbeddingBackend]:
    """Load an embedding model in slices (see `selection.load`).

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    with loading(name):
        config = load_config(path)
        require_tokenizer(path)
        extra = {"trust_remote_code": options.trust_remote_code}
        tokenizer = workers.submit(open_tokenizer, path, config, extra)
        pooling = _pooling(path, config)
        model = load_embedding_model(path, lazy=True)
        model.pooling_config = pooling
        use_exact_gelu(model)
        adapt_to_device(model)
        _, parts = yield from read_parts(model, tokenizer)
        limit = max_input_tokens(path, config) or _DEFAULT_LIMIT
        limit = min(limit, options.context_limit or limit)
        backend = EmbeddingBackend(name, model, parts[0], limit, config.get("pad_token_id") or 0)
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
