"""The embedding backend: a model of mlx-vlm's that turns texts into vectors and writes nothing.

Only `loading` imports this, once such a model is to be loaded: mlx-vlm takes two seconds.
"""

import json
import logging
import time
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NoReturn

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.utils import load_config
from mlx_vlm.embedding_loader import load_embedding_model
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.models.pooling import pool_by_config

from mlx_notebook.engine.backends import text
from mlx_notebook.engine.backends.adapters import Base
from mlx_notebook.engine.backends.backend import Done, Progress, Token, Vectors
from mlx_notebook.engine.backends.pooling import padded
from mlx_notebook.engine.errors import EngineError, InvalidRequest, LoadFailed, reason
from mlx_notebook.engine.prompts.chat_format import OutputPlan
from mlx_notebook.engine.prompts.length_limits import LengthLimit, longest_token
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, feed
from mlx_notebook.engine.sampling.sampler import Row
from mlx_notebook.engine.sampling.vocabulary import Vocabulary
from mlx_notebook.model_files.embedding_files import max_input_tokens
from mlx_notebook.protocol import Generate, ModelOptions, Prompt, TextPrompt

log = logging.getLogger(__name__)

_DEFAULT_LIMIT = 512
# What of sentence-transformers' modules mlx-vlm does by itself, or leaves out rightly.
_MODULES = ("Transformer", "Pooling", "Normalize")


class EmbeddingBackend:
    """A model that embeds, in memory (see `Backend`): its batch of sequences is always empty."""

    sees = trimmable = False
    kv_bytes = 0

    def __init__(self, name: str, model: Any, tokenizer: Any, limit: int, padding: int):
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.context_length = limit
        self.length_limit = LengthLimit(limit, longest=longest_token(tokenizer))
        self.nbytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
        self.base = Base(self.nbytes)
        self.vocabulary = Vocabulary(tokenizer)
        self.defaults: dict[str, float] = {}
        self._padding = padding

    def __len__(self) -> int:
        return 0

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Tokenize a text; a chat is refused."""
        if not isinstance(prompt, TextPrompt):
            self._refuse()
        return feed(self.tokenizer, prompt, length_limit or self.length_limit)

    def plan(self, command: Generate) -> tuple[PreparedPrompt, OutputPlan]:
        """Refuse to write."""
        self._refuse()

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """The vectors of tokenized texts, pooled as the model's files say.

        Most of these models look ahead, so that only one that does not can stop in between.
        """
        tokens, mask = padded(batch, self._padding)
        positions = tokens.shape[1]
        if positions <= chunk or self.model.model_type != "qwen3_embedding":
            output = self.model(mx.array(tokens), attention_mask=mx.array(mask))
            return np.array(output.text_embeds.astype(mx.float32))
        cache = make_prompt_cache(self.model)
        pieces = []
        for begin in range(0, positions, chunk):
            if begin:
                yield
            pieces.append(self.model.model(mx.array(tokens[:, begin : begin + chunk]), cache))
            mx.eval(pieces)
        how = self.model.pooling_config or {"pooling_mode": "lasttoken"}
        pooled = pool_by_config(mx.concatenate(pieces, axis=1), mx.array(mask), how)
        return np.array(pooled.astype(mx.float32))

    def insert(
        self, row: Row, prompt: PreparedPrompt, max_tokens: int, *, endless: bool
    ) -> tuple[int, int]:
        """Refuse to write."""
        self._refuse()

    def fork(self, uid: int, row: Row, max_tokens: int, *, endless: bool) -> int:
        """Refuse to write."""
        self._refuse()

    def step(self) -> tuple[list[Progress], list[Token]]:
        """Decode nothing."""
        return [], []

    def remove(self, uids: list[int]) -> None:
        """Have nothing to take out."""

    def close(self) -> None:
        """Let go of everything that holds memory, whoever still holds this object."""
        del self.model

    def _refuse(self) -> NoReturn:
        raise InvalidRequest(
            f"{self.name} embeds texts and writes none: use v1/embeddings, or another model.",
            "model",
        )


def load(
    name: str, path: Path, options: ModelOptions, workers: Executor
) -> Generator[Done, None, EmbeddingBackend]:
    """Load an embedding model in slices, so that others go on decoding between them.

    Raises
    ------
    LoadFailed
        With a sentence that says what is wrong with the model's files.
    """
    began = time.perf_counter()
    try:
        config = load_config(path)
        text.require_tokenizer(path)
        extra = {"trust_remote_code": options.trust_remote_code}
        pending = workers.submit(text.open_tokenizer, path, config, extra)
        pooling = _pooling(path, config)
        model = load_embedding_model(path, lazy=True)
        model.pooling_config = pooling
        if mx.default_device() == mx.cpu:
            # Only fp32 products go through BLAS.
            model.set_dtype(mx.float32)
        yield 0
        done = yield from text.read_weights(model)
        tokenizer = yield from text.wait(pending, done)
        limit = max_input_tokens(path, config) or _DEFAULT_LIMIT
        limit = min(limit, options.context_limit or limit)
        backend = EmbeddingBackend(name, model, tokenizer, limit, config.get("pad_token_id") or 0)
        # Compiles what the first request needs, and shows what the files did not tell.
        vectors = yield from backend.embed([[0, 1], [0]], limit)
        if vectors.ndim != 2:
            raise ValueError("it makes a vector of each token, not one of a text.")
    except (MemoryError, EngineError):
        raise
    except Exception as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}", "model") from error
    log.info("loaded %s in %.2f s", name, time.perf_counter() - began)
    return backend


def _pooling(path: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """How token vectors become one, as the model's files say; None where they do not.

    Raises
    ------
    ValueError
        If they ask for a step that would be left out.
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
